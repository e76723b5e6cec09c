// Elements from data. Every text goes in as text, never as markup. It goes in only when it has changed, so
// that updates disturb neither screen readers nor the focus.

/** Returns the element with an id; the page is our own, so the element exists. */
export function byId(id) {
  return document.getElementById(id);
}

/** Creates an element with a class, which may be empty, and children or texts. */
export function createElement(tag, className = "", ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** Sets a text that differs from the present one. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets the whole class if it differs from the present one. */
export function setClass(element, className) {
  if (element.className !== className) element.className = className;
}

/**
 * Gives `parent` one child for each row, in order. It reuses the children it has, by key;
 * `create(row)` creates one, `update(element, row)` updates one.
 */
export function reconcile(parent, rows, keyOf, create, update) {
  const childByKey = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = rows.map((row) => {
    const key = String(keyOf(row));
    const child = childByKey.get(key) ?? create(row);
    childByKey.delete(key);
    child.dataset.key = key;
    update(child, row);
    return child;
  });
  const focused = document.activeElement;
  const kept = new Set(wanted);
  for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
  wanted.forEach((child, index) => {
    const current = parent.children[index] ?? null;
    if (current !== child) parent.insertBefore(child, current);
  });
  // A moved element loses the focus.
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
}

/**
 * A table of columns `{ title, text(row), number?, long?, minor?, header?, action?(row) → element }`:
 * `number` aligns right, `long` may break lines anywhere, `minor` is left out on narrow screens, `header`
 * heads its row, `action` creates an element instead of a text.
 */
export class Table {
  constructor(table, columns, keyOf, emptyText) {
    this.columns = columns;
    this.keyOf = keyOf;
    const head = createElement("tr", "", ...columns.map((column) => {
      const cell = createElement("th", this.classOf(column), column.title);
      cell.scope = "col";
      return cell;
    }));
    this.body = createElement("tbody");
    this.empty = createElement("td", "quiet", emptyText);
    this.empty.colSpan = columns.length;
    table.append(createElement("thead", "", head), this.body);
    this.fill([]);
  }

  classOf(column) {
    return ["number", "long", "minor"].filter((name) => column[name]).join(" ");
  }

  fill(rows) {
    if (rows.length === 0) {
      if (this.empty.isConnected) return;
      this.body.replaceChildren(createElement("tr", "", this.empty));
      return;
    }
    if (this.empty.isConnected) this.body.replaceChildren();
    const create = (row) => this.createRow(row);
    reconcile(this.body, rows, this.keyOf, create, (tr, row) => this.updateRow(tr, row));
  }

  createRow(row) {
    return createElement("tr", "", ...this.columns.map((column) => {
      const cell = createElement(column.header ? "th" : "td", this.classOf(column));
      if (column.header) cell.scope = "row";
      if (column.action) cell.append(column.action(row));
      return cell;
    }));
  }

  updateRow(tr, row) {
    this.columns.forEach((column, index) => {
      if (column.action) return;
      const cell = tr.children[index];
      setText(cell, column.text(row));
      if (column.classOf) setClass(cell, `${this.classOf(column)} ${column.classOf(row)}`.trim());
    });
  }
}

// Elements from data. Every text goes in as text, never as markup, and only when it has changed, so that
// neither a reader nor the focus is disturbed once a second.

/** The element with an id; the page is ours, so it is there. */
export function byId(id) {
  return document.getElementById(id);
}

/** A new element with a class, which may be empty, and children or texts. */
export function make(tag, className = "", ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** Sets a text if it is another one. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets a class as a whole if it is another one. */
export function setClass(element, className) {
  if (element.className !== className) element.className = className;
}

/**
 * Makes the children of `parent` be one for each row, in order, reusing by key those that are there:
 * `create(row)` makes one, `update(element, row)` brings it up to date.
 */
export function reconcile(parent, rows, keyOf, create, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = rows.map((row) => {
    const key = String(keyOf(row));
    const child = known.get(key) ?? create(row);
    known.delete(key);
    child.dataset.key = key;
    update(child, row);
    return child;
  });
  const focused = document.activeElement;
  const stay = new Set(wanted);
  for (const child of [...parent.children]) if (!stay.has(child)) child.remove();
  wanted.forEach((child, index) => {
    const there = parent.children[index] ?? null;
    if (there !== child) parent.insertBefore(child, there);
  });
  // What is moved loses the focus.
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
}

/**
 * A table of columns `{ title, text(row), number?, long?, minor?, header?, action?(row) → element }`:
 * `number` aligns right, `long` may break lines anywhere, `minor` is left out on narrow screens, `header`
 * heads its row, `action` makes an element instead of a text.
 */
export class Table {
  constructor(table, columns, keyOf, nothing) {
    this.columns = columns;
    this.keyOf = keyOf;
    const head = make("tr", "", ...columns.map((column) => {
      const cell = make("th", this.classOf(column), column.title);
      cell.scope = "col";
      return cell;
    }));
    this.body = make("tbody");
    this.empty = make("td", "quiet", nothing);
    this.empty.colSpan = columns.length;
    table.append(make("thead", "", head), this.body);
    this.fill([]);
  }

  classOf(column) {
    return ["number", "long", "minor"].filter((name) => column[name]).join(" ");
  }

  fill(rows) {
    if (rows.length === 0) {
      if (this.empty.isConnected) return;
      this.body.replaceChildren(make("tr", "", this.empty));
      return;
    }
    if (this.empty.isConnected) this.body.replaceChildren();
    const create = (row) => this.createRow(row);
    reconcile(this.body, rows, this.keyOf, create, (tr, row) => this.updateRow(tr, row));
  }

  createRow(row) {
    return make("tr", "", ...this.columns.map((column) => {
      const cell = make(column.header ? "th" : "td", this.classOf(column));
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

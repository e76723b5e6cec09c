// Ids of events: `<unix ms>-<n>`, where `n` is `count * 1024 + tag`, and a tag belongs to one run of the
// server.

const FORM = /^(\d+)-(\d+)$/;

/** Unix milliseconds of an id, or NaN if it is not one of the server's. */
export const timeOf = (id) => +(FORM.exec(id)?.[1] ?? NaN);

/** Whether the first id was given before the second; false if either is not one of the server's. */
export function isBefore(one, other) {
  const a = FORM.exec(one), b = FORM.exec(other);
  return !!a && !!b && (+a[1] - +b[1] || +a[2] - +b[2]) < 0;
}

/** Tag of the run that gave an id, or undefined. */
export const tagOf = (id) => {
  const match = FORM.exec(id);
  return match ? match[2] % 1024 : undefined;
};

/**
 * Remembers which events were seen. Ids of one run only rise, so the last one of each run is enough, even
 * when a balancer leads back to a server that was left.
 */
export function createSeen() {
  const last = new Map();
  return {
    /** Marks an id; false if it, or a later one of its run, was marked before. */
    add(id) {
      const tag = tagOf(id);
      if (tag === undefined) return true;
      if (last.has(tag) && !isBefore(last.get(tag), id)) return false;
      last.set(tag, id);
      return true;
    },
    /** Forgets the run of an id that the server does not know. */
    forget: (id) => last.delete(tagOf(id)),
  };
}

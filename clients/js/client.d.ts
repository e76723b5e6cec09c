/** Subscribes a page to a fanwheel server. */

export interface Options {
  /** Topics by name. At least one topic or pattern is needed. */
  topics?: string[];
  /** Patterns of topics, such as `orders.*`. */
  patterns?: string[];
  /** Only events of these names; the server leaves the others out. */
  events?: string[];
  /** Begin with the newest so many kept events. */
  last?: number;
  /** Begin after this id. `<unix ms>-0` is a moment. */
  after?: string;
  /** Begin with the newest kept event of each topic or key. */
  snapshot?: boolean;
  /** Headers of each request; a function is called before each attempt. */
  headers?: Record<string, string> | (() => Record<string, string> | Promise<Record<string, string>>);
  /** Send cookies to another origin, too. */
  credentials?: boolean;
  /** `auto` streams by `fetch`, and polls where the network holds streams back. */
  transport?: "auto" | "fetch" | "eventsource" | "poll";
  /** All tabs that ask for the same stream use one connection. */
  share?: boolean;
  /** Address of this module on the page's own origin, for the SharedWorker of `share`. */
  worker?: string;
  /** Go on after a reload of the page where it was, by the session storage. */
  resume?: boolean;
  /** Disconnect when the page has been hidden for so long. */
  pauseHiddenMs?: number;
  /** Ask for the server's time; without it `serverNow` knows less. */
  clock?: boolean;
  /** A stream that says nothing for so long is dead: more than twice the server's `heartbeat_ms`. */
  silenceMs?: number;
  /** Time for a stream to begin. */
  connectMs?: number;
  /** First window of back-off until the server says `retry:`. */
  retryMs?: number;
  /** Widest window of back-off. */
  retryMaxMs?: number;
  /** Send figures to `POST /client-metrics` of the server, or to this address. */
  beacon?: boolean | string;
  beaconMs?: number;
}

export interface StreamEvent {
  /** Name of the event, `message` if the publisher gave none. */
  type: string;
  data: string;
  id: string;
  /** When it was published, Unix milliseconds by the server's clock. */
  time?: number;
  /** It was published before this connection was opened. */
  replayed?: boolean;
}

export interface Gap {
  topic?: string;
  topics?: string[];
  after: string;
  oldest: string | null;
  reason: "restart" | "evicted" | "unknown_id";
}

export interface GapEvent extends StreamEvent {
  gap: Gap;
}

export type StateName = "idle" | "connecting" | "open" | "waiting" | "paused" | "closed";

export interface State {
  state: StateName;
  /**
   * Of `waiting` and `closed`: `ended` (in order), `cut`, `silent`, `refused` (see `status`), `failed` (no answer),
   * `timeout`, `held` (an answer without a byte of its stream). Of `paused`: `asked`, `hidden`, `frozen`.
   */
  cause?: string;
  status?: number;
  /** Of `waiting`: how long. */
  waitMs?: number;
  transport?: "fetch" | "eventsource" | "poll";
}

export interface Warning {
  code: "held_back" | "no_polling" | "no_patterns" | "no_snapshot" | "not_shared";
  message: string;
}

export interface Metrics extends State {
  /** Streams that were opened. */
  connects: number;
  /** How long the last one took to open. */
  connectMs?: number;
  /** Ends of streams and failed attempts, by cause. */
  reconnects: Record<string, number>;
  events: number;
  /** Bytes of the streams; an EventSource does not tell them. */
  bytes: number;
  gaps: number;
  /** Events that came again and were dropped. */
  duplicates: number;
  /** From publishing to listener, without replayed events. */
  delayMs: { last?: number; mean?: number; max: number };
  /** Share of the time since `connect` with an open stream, 0 to 1. */
  connectedShare: number;
  eventsPerMinute: number;
}

export interface Client {
  readonly state: StateName;
  /** Position: the id after which the stream goes on. */
  readonly lastId: string;
  /** Listens, and returns a function that ends it. */
  on(name: "fanwheel.gap", listener: (event: GapEvent) => void): () => void;
  on(name: "fanwheel.state", listener: (state: State) => void): () => void;
  on(name: "fanwheel.warning", listener: (warning: Warning) => void): () => void;
  on(name: "fanwheel.metrics", listener: (metrics: Metrics) => void): () => void;
  /** Events of this name; `*` for all that are published. */
  on(name: string, listener: (event: StreamEvent) => void): () => void;
  /** Disconnects and keeps the position. */
  pause(): void;
  /** Connects again, also after a refusal. */
  resume(): void;
  /** Ends the client for good. */
  close(): void;
  /** The server's time, Unix milliseconds, and how far off it can be. */
  serverNow(): { now: number; error: number };
  metrics(): Metrics;
}

export function connect(url: string | URL, options?: Options): Client;

// The npm package `eventsource` as it is now: built on fetch.

import { EventSource } from "eventsource";
import { url, watch } from "./records.mjs";

watch(new EventSource(url));

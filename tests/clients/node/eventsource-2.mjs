// The npm package `eventsource`, version 2: built on node:http, still the one that most programs have.

import EventSource from "eventsource-2";
import { url, watch } from "./records.mjs";

watch(new EventSource(url));

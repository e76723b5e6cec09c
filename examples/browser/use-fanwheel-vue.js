// A Vue composable: the newest event of some topics, and the state of the connection.

import { onScopeDispose, shallowRef } from "vue";

export function useFanwheel(connect, url, options) {
  const event = shallowRef(), state = shallowRef("connecting");
  const client = connect(url, options);
  client.on("*", (newest) => (event.value = newest));
  client.on("fanwheel.state", (newest) => (state.value = newest.state));
  onScopeDispose(() => client.close());
  return { event, state };
}

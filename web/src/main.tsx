import { render } from "preact";
import { App } from "./app";
import { Store } from "./live/store";

const store = new Store();
render(<App store={store} />, document.getElementById("page")!);
store.start();

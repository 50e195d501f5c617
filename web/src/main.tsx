import "uplot/dist/uPlot.min.css";
import "./style.css";
import { render } from "preact";
import { App } from "./app";
import { follow } from "./live";

const page = document.getElementById("page");
if (page) {
  follow();
  render(<App />, page);
}

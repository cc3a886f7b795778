/* Follows a job that is not over yet: by its event stream, or by asking every two seconds where no stream comes through.
 *
 * Events only say that something happened; the page's parts come from the server, so there is one way to draw them.
 * Tokens alone are written straight from the stream.
 */

import { tellTimes } from "./times.js";

const page = document.getElementById("job-page");
const ASK_EVERY = 2000;
const TOGETHER = 300; // milliseconds of events that one look at the server answers
let seq = Number(page.dataset.seq);
let stream = null;
let failures = 0;
let looking = null;
let again = false;
let timer = null;
let over = false;

function note(text) {
  const place = document.getElementById("live-note");
  if (place) place.textContent = text ? `· ${text}` : "";
}

async function look() {
  if (looking) {
    again = true;
    return looking;
  }
  looking = (async () => {
    try {
      const answer = await fetch(page.dataset.live, { headers: { Accept: "application/json" } });
      if (answer.ok) draw(await answer.json());
    } catch {
      // The server may be starting anew; the next look tells.
    }
  })();
  await looking;
  looking = null;
  if (again && !over) {
    again = false;
    soon();
  }
}

function soon() {
  timer ??= setTimeout(() => {
    timer = null;
    look();
  }, TOGETHER);
}

function draw({ seq: told, over: isOver, pieces }) {
  const open = new Set([...document.querySelectorAll("details[data-key][open]")].map((step) => step.dataset.key));
  const streaming = stream?.readyState === EventSource.OPEN && told < seq;
  for (const [name, html] of Object.entries(pieces)) {
    if (name === "streams" && streaming) continue; // what came meanwhile is newer
    const place = document.getElementById(`job-${name}`);
    if (place.innerHTML !== html) place.innerHTML = html;
    tellTimes(place);
  }
  for (const step of document.querySelectorAll("details[data-key]")) step.open = open.has(step.dataset.key);
  seq = Math.max(seq, told);
  over = isOver;
  for (const form of document.querySelectorAll("[data-while]")) form.hidden = (form.dataset.while === "over") !== over;
  if (over) stop();
  else note(stream?.readyState === EventSource.OPEN ? page.dataset.byStream : page.dataset.byPoll);
}

function say({ component_name_str: component, text }) {
  const card = document.getElementById("streams-card");
  if (!card) return;
  card.hidden = false;
  let said = [...card.querySelectorAll(".stream")].find((each) => each.dataset.component === component);
  if (!said) {
    said = document.createElement("div");
    said.className = "stream";
    said.dataset.component = component;
    const name = document.createElement("h3");
    name.className = "result-name";
    name.textContent = component;
    const words = document.createElement("p");
    words.className = "said streaming";
    said.append(name, words);
    card.append(said);
  }
  said.querySelector(".said").append(text);
}

function listen() {
  if (over || document.hidden || stream) return;
  stream = new EventSource(page.dataset.events);
  stream.onopen = () => {
    failures = 0;
    note(page.dataset.byStream);
  };
  const take = (event, act) => {
    const number = Number(event.lastEventId);
    if (number && number <= seq) return; // the page was drawn with it
    seq = Math.max(seq, number);
    act(event);
  };
  stream.addEventListener("state", (event) => take(event, soon));
  stream.addEventListener("step", (event) => take(event, soon));
  stream.addEventListener("token", (event) => take(event, () => say(JSON.parse(event.data))));
  stream.onerror = () => {
    if (stream?.readyState !== EventSource.CLOSED) return; // the browser connects again by itself
    hush();
    failures += 1;
    setTimeout(listen, Math.min(30000, 1000 * 2 ** failures));
  };
}

function hush() {
  stream?.close();
  stream = null;
}

function stop() {
  hush();
  clearInterval(asking);
  note("");
}

// Asking goes on beside the stream at a slower beat, so that a stream that is silent for a bad reason is noticed.
let beats = 0;
const asking = setInterval(() => {
  beats += 1;
  if (document.hidden) return;
  if (stream?.readyState !== EventSource.OPEN || beats % 5 === 0) look();
}, ASK_EVERY);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) hush(); // six streams are all that HTTP/1.1 gives a browser
  else { look(); listen(); }
});
listen();
look();

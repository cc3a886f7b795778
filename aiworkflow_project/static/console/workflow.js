/* A workflow's page: the editor over the textarea, checking on demand, problems beside the text, a fresh picture. */

const frame = document.getElementById("yaml-editor");
const textarea = frame?.querySelector("textarea");
if (textarea) await start();

async function start() {
  const list = document.getElementById("yaml-problem-list");
  const verdict = document.getElementById("check-verdict");
  const button = document.getElementById("check-button");
  const json = (id) => JSON.parse(document.getElementById(id).textContent);

  const { edit } = await import(frame.dataset.editor);
  const editor = edit(textarea, {
    nonce: document.querySelector("script[nonce]")?.nonce ?? "",
    label: frame.dataset.label,
    phrases: json("editor-words"),
    componentTypes: once(() => componentTypes(frame.dataset.components)),
    onCheck: check,
  });
  button.hidden = document.getElementById("editor-keys").hidden = false;
  button.addEventListener("click", check);
  const found = json("yaml-problems");
  if (found.length) show(found);

  async function check() {
    button.disabled = true;
    verdict.textContent = "…";
    const body = new URLSearchParams({ pipeline_yaml: editor.text() });
    try {
      const answer = await fetch(frame.dataset.check, { method: "POST", body, headers: { "X-CSRFToken": token() } });
      const checked = await answer.json();
      verdict.textContent = checked.verdict ?? checked.unavailable;
      if (checked.problems) show(checked.problems);
      if (checked.picture) document.getElementById("picture").innerHTML = checked.picture;
    } catch (error) {
      verdict.textContent = String(error.message ?? error);
    } finally {
      button.disabled = false;
    }
  }

  function show(problems) {
    editor.mark(problems);
    list.hidden = problems.length === 0;
    list.replaceChildren(...problems.map((problem) => {
      const item = document.createElement("li");
      item.className = problem.severity;
      if (problem.line) {
        const place = document.createElement("button");
        place.type = "button";
        place.className = "place";
        place.textContent = `${frame.dataset.place} ${problem.line}:${problem.column ?? 1}`;
        place.addEventListener("click", () => editor.goTo(problem.line, problem.column ?? 1));
        item.append(place);
      }
      const words = document.createElement("span");
      words.textContent = problem.message;
      if (problem.path) {
        const where = document.createElement("code");
        where.className = "where";
        where.textContent = problem.path;
        words.append(where);
      }
      item.append(words);
      return item;
    }));
  }
}

function token() {
  return document.querySelector("input[name=csrfmiddlewaretoken]").value;
}

function once(load) {
  let loading = null;
  return () => (loading ??= load());
}

async function componentTypes(url) {
  try {
    const answer = await fetch(url, { headers: { Accept: "application/json" } });
    return answer.ok ? (await answer.json()).components : [];
  } catch {
    return []; // completion is a kindness; without it the editor still edits
  }
}

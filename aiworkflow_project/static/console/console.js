/* What every page of the console does: local times, the navigation's filter, copy buttons, tabs, confirmation. */

import { tellTimes } from "./times.js";

function filterNavigation() {
  const field = document.getElementById("nav-filter");
  if (!field) return;
  const narrow = () => {
    const wanted = field.value.trim().toLowerCase();
    for (const item of document.querySelectorAll("#nav-sidebar li")) {
      item.hidden = wanted !== "" && !item.textContent.toLowerCase().includes(wanted);
    }
  };
  field.addEventListener("input", narrow);
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    field.value = "";
    narrow();
  });
  narrow();
}

/** Buttons with data-copy="#id" copy that element's text. */
function copyOnClick(event) {
  const button = event.target.closest?.("[data-copy]");
  if (!button) return;
  const text = document.querySelector(button.dataset.copy)?.textContent ?? "";
  navigator.clipboard?.writeText(text).then(() => {
    const before = button.textContent;
    button.textContent = button.dataset.done || before;
    setTimeout(() => { button.textContent = before; }, 1500);
  });
}

/** Turns the panels of a .tabbed element into tabs; without scripts they stand one below the other. */
function makeTabs(box) {
  const choice = box.querySelector("input[name=shape]");
  const panels = [...box.querySelectorAll("[data-tab]")];
  const bar = box.querySelector(".tabs");
  bar.hidden = false;
  const tabs = panels.map((panel, number) => {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.id = `${panel.id}-tab`;
    tab.textContent = panel.dataset.tab;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", panel.id);
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", tab.id);
    tab.addEventListener("click", () => show(number));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) show((number + step + panels.length) % panels.length, true);
    });
    bar.append(tab);
    return tab;
  });
  const show = (chosen, focus = false) => {
    tabs.forEach((tab, number) => {
      tab.setAttribute("aria-selected", number === chosen);
      tab.tabIndex = number === chosen ? 0 : -1;
      panels[number].hidden = number !== chosen;
    });
    for (const radio of box.querySelectorAll("input[name=shape]")) radio.checked = radio.value === panels[chosen].dataset.value;
    if (focus) tabs[chosen].focus();
  };
  for (const row of box.querySelectorAll(".tab-choice")) row.hidden = true;
  const chosen = box.querySelector("input[name=shape]:checked")?.value ?? choice?.value;
  show(Math.max(panels.findIndex((panel) => panel.dataset.value === chosen), 0));
}

/** Lists on a narrow screen are cards: each cell then bears the name of its column. */
function labelCells() {
  const heads = [...document.querySelectorAll("#result_list thead th")].map((head) => head.querySelector(".text")?.textContent.trim());
  for (const row of document.querySelectorAll("#result_list tbody tr")) {
    [...row.children].forEach((cell, number) => {
      if (cell.tagName === "TD" && heads[number] && !cell.classList.contains("action-checkbox")) cell.dataset.label = heads[number];
    });
  }
}

tellTimes();
filterNavigation();
labelCells();
document.addEventListener("click", copyOnClick);
document.querySelectorAll(".tabbed").forEach(makeTabs);
document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});
document.addEventListener("change", (event) => {
  if (event.target.matches("select[data-goto]")) window.location.assign(event.target.value);
});

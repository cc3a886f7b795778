/* The YAML editor of a workflow's page: CodeMirror over the form's own textarea, which keeps the text.
 *
 * The textarea is what is submitted, and all there is where scripts don't run. The page hands over what the
 * editor can't know: the problems found by the server, the words of the page's language, the style nonce.
 */

import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import {
  bracketMatching, foldGutter, foldKeymap, HighlightStyle, indentOnInput, indentUnit, syntaxHighlighting,
} from "@codemirror/language";
import { lintGutter, lintKeymap, setDiagnostics } from "@codemirror/lint";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { EditorState } from "@codemirror/state";
import {
  crosshairCursor, drawSelection, EditorView, highlightActiveLine, highlightActiveLineGutter, highlightSpecialChars,
  keymap, lineNumbers, rectangularSelection,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";

// Colours are the console's CSS variables, so light and dark follow the page without a second theme.
const theme = EditorView.theme({
  "&": { color: "var(--code-fg)", backgroundColor: "var(--code-bg)", fontSize: "0.8125rem" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--font-family-monospace)", lineHeight: "1.55" },
  ".cm-content": { caretColor: "var(--body-loud-color)", padding: "10px 0" },
  ".cm-cursor, .cm-dropCursor": { borderLeftColor: "var(--body-loud-color)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "var(--code-selection)",
  },
  ".cm-gutters": {
    backgroundColor: "var(--code-bg)", color: "var(--code-gutter)", border: "none",
    borderRight: "1px solid var(--hairline-color)",
  },
  ".cm-activeLine": { backgroundColor: "var(--code-active-line)" },
  ".cm-activeLineGutter": { backgroundColor: "var(--code-active-line)", color: "var(--body-fg)" },
  ".cm-selectionMatch": { backgroundColor: "var(--code-match)" },
  ".cm-searchMatch": { backgroundColor: "var(--code-match)", outline: "1px solid var(--code-gutter)" },
  ".cm-searchMatch.cm-searchMatch-selected": { backgroundColor: "var(--code-selection)" },
  ".cm-panels": { backgroundColor: "var(--darkened-bg)", color: "var(--body-fg)" },
  ".cm-panels.cm-panels-bottom": { borderTop: "1px solid var(--hairline-color)" },
  ".cm-textfield": {
    backgroundColor: "var(--body-bg)", color: "var(--body-fg)", border: "1px solid var(--border-color)",
    padding: "4px 6px",
  },
  ".cm-button": {
    backgroundImage: "none", backgroundColor: "var(--body-bg)", color: "var(--body-fg)",
    border: "1px solid var(--border-color)", borderRadius: "4px",
  },
  ".cm-tooltip": {
    backgroundColor: "var(--body-bg)", color: "var(--body-fg)", border: "1px solid var(--border-color)",
    borderRadius: "6px", boxShadow: "var(--shadow)", maxWidth: "min(60ch, 90vw)",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": { fontFamily: "var(--font-family-monospace)", maxHeight: "16em" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected]": {
    backgroundColor: "var(--accent-strong)", color: "#fff",
  },
  ".cm-diagnostic": { fontFamily: "var(--font-family-primary)", whiteSpace: "pre-wrap" },
  ".cm-foldPlaceholder": {
    backgroundColor: "var(--darkened-bg)", color: "var(--body-quiet-color)", border: "none",
  },
});

const colours = HighlightStyle.define([
  { tag: [tags.definition(tags.propertyName), tags.propertyName], color: "var(--code-key)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--code-string)" },
  { tag: [tags.content, tags.literal, tags.number, tags.bool, tags.null], color: "var(--code-value)" },
  { tag: [tags.comment, tags.lineComment], color: "var(--code-comment)", fontStyle: "italic" },
  { tag: [tags.typeName, tags.labelName, tags.keyword, tags.meta], color: "var(--code-mark)" },
  { tag: [tags.punctuation, tags.separator, tags.squareBracket, tags.brace], color: "var(--code-gutter)" },
]);

/** Puts an editor over `textarea` and returns what the page may do with it. */
export function edit(textarea, { nonce = "", label = "", phrases = {}, componentTypes = async () => [], onCheck } = {}) {
  const view = new EditorView({
    state: EditorState.create({
      doc: textarea.value,
      extensions: [
        nonce ? EditorView.cspNonce.of(nonce) : [],
        EditorState.phrases.of(phrases),
        EditorState.readOnly.of(textarea.readOnly || textarea.disabled),
        lineNumbers(), highlightActiveLineGutter(), highlightSpecialChars(), history(), foldGutter(), drawSelection(),
        EditorState.allowMultipleSelections.of(true), indentOnInput(), bracketMatching(), closeBrackets(),
        rectangularSelection(), crosshairCursor(), highlightActiveLine(), highlightSelectionMatches(),
        indentUnit.of("  "), EditorState.tabSize.of(2), yaml(), syntaxHighlighting(colours), lintGutter(), theme,
        autocompletion({ override: [(context) => completeTypes(context, componentTypes)] }),
        EditorView.contentAttributes.of({
          "aria-label": label, "aria-describedby": textarea.getAttribute("aria-describedby") ?? "",
        }),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) textarea.value = update.state.doc.toString();
        }),
        keymap.of([
          { key: "Mod-Enter", run: () => (onCheck ? (onCheck(), true) : false) },
          ...closeBracketsKeymap, ...defaultKeymap, ...searchKeymap, ...historyKeymap, ...foldKeymap,
          ...completionKeymap, ...lintKeymap,
          indentWithTab, // Escape, then Tab leaves the editor: CodeMirror's own way out for keyboards
        ]),
      ],
    }),
  });
  textarea.after(view.dom);
  textarea.hidden = true;
  // The scrolling box can be reached by keyboard, as long YAML needs it.
  view.scrollDOM.tabIndex = 0;
  view.scrollDOM.setAttribute("role", "group");
  view.scrollDOM.setAttribute("aria-label", label);

  return {
    view,
    text: () => view.state.doc.toString(),
    /** Marks the server's problems, whose lines and columns count from 1. */
    mark(problems) {
      view.dispatch(setDiagnostics(view.state, problems.filter((found) => found.line).map((found) => {
        const line = view.state.doc.line(Math.min(found.line, view.state.doc.lines));
        const from = Math.min(line.from + Math.max((found.column ?? 1) - 1, 0), line.to);
        const word = /^[^\s:,\]}]+/.exec(line.text.slice(from - line.from));
        const to = word ? from + word[0].length : line.to;
        return { from, to: Math.max(from, to), severity: found.severity ?? "error", message: found.message };
      })));
    },
    goTo(lineNumber, column = 1) {
      const line = view.state.doc.line(Math.min(Math.max(lineNumber, 1), view.state.doc.lines));
      const at = Math.min(line.from + column - 1, line.to);
      view.dispatch({ selection: { anchor: at }, effects: EditorView.scrollIntoView(at, { y: "center" }) });
      view.focus();
    },
  };
}

async function completeTypes(context, componentTypes) {
  const word = context.matchBefore(/^\s*(?:-\s+)?type:\s*[\w.]*/);
  if (!word) return null;
  const typed = /[\w.]*$/.exec(word.text)[0];
  const types = await componentTypes();
  return {
    from: context.pos - typed.length,
    validFor: /^[\w.]*$/,
    options: types.map(({ type, description }) => ({
      label: type,
      // Half of a module path says little: people type the class's name, which matches within the label.
      detail: type.split(".").at(-1),
      info: description || undefined,
      type: "class",
    })),
  };
}

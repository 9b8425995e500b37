// Why a pixel got its label, in words and small bars.

import { element } from "./chips.js";

const SPEAKERS = [
  ["text_prompt", "its name"],
  ["text_token", "its best word"],
  ["visual_prompt", "its pictures"],
  ["visual_token", "their best part"],
  ["box", "a box around it"],
];

/**
 * Fill a panel with an explanation.
 * @param {HTMLElement} panel
 * @param {object} explanation as the service gives it
 * @param {(name: string) => void} alsoFind is told the name to look for too, if the user wants it
 * @param {HTMLElement} controls to say what the place is, or is not
 */
export function showWhy(panel, explanation, alsoFind, controls) {
  const { label, winner, runner_up: runnerUp, distractor, negative } = explanation;
  const votes = [winner, runnerUp, distractor, negative].filter(Boolean);
  const loudest = Math.max(0.01, ...votes.flatMap((vote) => SPEAKERS.map(([key]) => vote[key] ?? 0)));
  panel.replaceChildren(
    element("h3", "", label === null ? "Why unlabelled here?" : `Why “${label}” here?`),
    element("p", "hint", inWords(explanation)),
    ...(label === null && distractorWon(explanation) ? [offer(distractor.name, alsoFind)] : []),
    controls,
    ...vote(winner, label === null ? "Best of your names" : "It won", loudest),
    ...(runnerUp ? vote(runnerUp, "Second", loudest) : []),
    ...(negative ? vote(negative, "Not wanted", loudest) : []),
    ...(distractor ? vote(distractor, "Not among your names", loudest) : []),
  );
  panel.hidden = false;
}

const distractorWon = ({ winner, distractor }) => distractor !== null && distractor.score > winner.score;

function offer(name, alsoFind) {
  const button = element("button", "", `Find “${name}” too`);
  button.type = "button";
  button.addEventListener("click", () => alsoFind(name));
  return button;
}

function inWords(explanation) {
  const { label, winner, runner_up: runnerUp, distractor, negative } = explanation;
  if (label === null) {
    if (negative && negative.score > winner.score) {
      return `“${negative.name}”, which you do not want, fits this place better.`;
    }
    return distractorWon(explanation)
      ? `“${distractor.name}”, which you did not name, fits this place better than anything that you did.`
      : "Nothing that you named is sure enough of this place.";
  }
  const name = loudest(winner, ["text_prompt", "text_token"]);
  const pictures = loudest(winner, ["visual_prompt", "visual_token"]);
  const speaker =
    pictures === null ? "Only its name spoke for it." :
    name > pictures ? "Its name spoke loudest for it." : "Its pictures spoke loudest for it.";
  const close = runnerUp && winner.score - runnerUp.score < 0.1 ? ` “${runnerUp.name}” was close.` : "";
  return speaker + close;
}

const loudest = (vote, keys) => {
  const heard = keys.map((key) => vote[key]).filter((value) => value !== null);
  return heard.length ? Math.max(...heard) : null;
};

/** Write a number with two places, and zero without a sign. */
const rounded = (value) => (Math.abs(value) < 0.005 ? 0 : value).toFixed(2);

function vote(entry, role, loudestOfAll) {
  const title = element("h4", "", `${role}: ${entry.name}`);
  title.append(element("span", "score", `score ${entry.score.toFixed(2)}`));
  const list = element("dl");
  for (const [key, words] of SPEAKERS) {
    if (entry[key] === null) continue;
    const meter = element("dd", "meter");
    const filled = element("span");
    filled.style.width = `${(100 * Math.max(0, entry[key])) / loudestOfAll}%`;
    meter.append(filled);
    list.append(element("dt", "", words), meter, element("dd", "number", rounded(entry[key])));
  }
  return [title, list];
}

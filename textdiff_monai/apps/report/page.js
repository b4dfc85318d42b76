
"use strict";
const rows = Array.from(document.querySelectorAll(".cases tbody tr"));
const headers = Array.from(document.querySelectorAll(".cases th[aria-sort]"));
const [find, most, told] = ["find", "most", "told"].map((id) => document.getElementById(id));
const pictures = JSON.parse(document.getElementById("pictures").textContent);
const cells = new Map(rows.map((row) => [row, Array.from(row.querySelectorAll("td[data-name]"))]));
const collator = new Intl.Collator("en", { numeric: true });
let order = "";

// A picture is decoded when it comes near the window.
const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting) {
      target.src = pictures[target.dataset.picture];
      seen.unobserve(target);
    }
  }
}, { rootMargin: "400px" });
for (const image of document.querySelectorAll("img[data-picture]")) seen.observe(image);

function tell() {
  const shown = rows.filter((row) => !row.hidden).length;
  told.textContent = (shown === rows.length ? `${shown} cases` : `${shown} of ${rows.length} cases`) + order;
}

function key(cell) {
  if (cell.dataset.value === undefined) return cell.textContent;
  return cell.dataset.value === "" ? null : Number(cell.dataset.value);
}

// Cases without a figure come last, whichever way it is sorted.
function sort(index, descending) {
  const sign = descending ? -1 : 1;
  rows.sort((one, other) => {
    const [a, b] = [one, other].map((row) => key(cells.get(row)[index]));
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "number" ? a - b : collator.compare(a, b));
  });
  headers.forEach((header, number) => {
    header.ariaSort = number !== index ? "none" : descending ? "descending" : "ascending";
  });
  order = `, by ${headers[index].textContent.trim()}, ${descending ? "highest" : "lowest"} first`;
  document.querySelector(".cases tbody").append(...rows);
  tell();
}

headers.forEach((header, index) => {
  header.querySelector("button").addEventListener("click", () => sort(index, header.ariaSort === "ascending"));
});
document.getElementById("worst").addEventListener("click", () => sort(2, false));

function filter() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  const limit = Number(most.value);
  document.getElementById("most-shown").textContent = limit.toFixed(2);
  for (const row of rows) {
    const [id, text, dice] = cells.get(row);
    const content = (id.textContent + " " + text.textContent).toLowerCase();
    const few = limit === 1 || (key(dice) !== null && key(dice) <= limit);
    row.hidden = !few || !words.every((word) => content.includes(word));
  }
  tell();
}
find.addEventListener("input", filter);
most.addEventListener("input", filter);
document.getElementById("controls").addEventListener("submit", (event) => event.preventDefault());

for (const button of document.querySelectorAll(".picture button")) {
  button.addEventListener("click", () => {
    button.ariaExpanded = String(button.ariaExpanded !== "true");
  });
}

// A word that is pointed at or focused shows its map over the image, the first of the three pictures. One word of a
// sentence is reached by Tab, the others from it by the arrow keys.
for (const sentence of document.querySelectorAll(".words")) {
  const words = Array.from(sentence.querySelectorAll("button"));
  const map = sentence.closest("tr").querySelector(".map");
  const told = sentence.nextElementSibling;
  const show = (word) => {
    told.textContent = word === null ? "" : word.dataset.told;
    if (map === null) return;
    map.hidden = word === null;
    if (word === null) return;
    map.style.backgroundImage = `url(${pictures[map.dataset.picture]})`;
    map.style.backgroundSize = `${100 * words.length}% 100%`;
    map.style.backgroundPosition = `${(100 * words.indexOf(word)) / Math.max(1, words.length - 1)}% 0`;
  };
  const focused = () => (words.includes(document.activeElement) ? document.activeElement : null);
  words.forEach((word, number) => {
    word.addEventListener("mouseenter", () => show(word));
    word.addEventListener("mouseleave", () => show(focused()));
    word.addEventListener("focus", () => {
      for (const one of words) one.tabIndex = one === word ? 0 : -1;
      show(word);
    });
    word.addEventListener("blur", () => show(null));
    word.addEventListener("keydown", ({ key }) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
      if (step) words[(number + step + words.length) % words.length].focus();
      if (key === "Escape") show(null);
    });
  });
}

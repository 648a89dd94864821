// The small text at the mouse.
const tipBox = document.getElementById("tip");

function tip(event, lines) {
  tipBox.hidden = event === null;
  if (event === null) return;
  tipBox.replaceChildren(...lines.map((line, i) => html(i ? "span" : "b", {}, line)));
  const [x, y] = [event.clientX + 14, event.clientY + 16];
  tipBox.style.left = `${Math.min(x, window.innerWidth - tipBox.offsetWidth - 8)}px`;
  tipBox.style.top = `${y + tipBox.offsetHeight > window.innerHeight ? event.clientY - tipBox.offsetHeight - 10 : y}px`;
}

document.querySelectorAll("table").forEach(makeSortable);
document.body.append(dialog);
const makers = {
  chart: (image, part) => new Chart(image, part),
  confusion: makeConfusion,
};
// Parts are made when they come near the screen, because a page may have a hundred charts.
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    watcher.unobserve(target);
    const part = data.parts[target.dataset.part];
    makers[part.kind](target, part);
  }
}, { rootMargin: "800px" });
document.querySelectorAll("img[data-part]").forEach((image) => watcher.observe(image));
// In print, nothing stays folded.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => { for (const details of opened) details.open = false; });

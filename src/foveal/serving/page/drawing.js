// Boxes on a canvas, in the colors of foveal's pictures (visualization/colors.py).

const FIRST = ["#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#0072b2"];
const GOLDEN_ANGLE = 0.381966;

export function classColor(label) {
  if (label < FIRST.length) return FIRST[label];
  const turn = label - FIRST.length;
  const lightness = [62, 42, 75][turn % 3];
  return `hsl(${360 * ((0.05 + turn * GOLDEN_ANGLE) % 1)} 75% ${lightness}%)`;
}

// Draw an image (null: a plain ground) and detections, whose boxes are pixels of the image, into a
// whole canvas. `scale` is canvas pixels of an image pixel, `text` the letters' height.
export function drawDetections(canvas, picture, detections, { scale, text, labels }) {
  const context = canvas.getContext("2d");
  context.fillStyle = "#808890";
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (picture) {
    context.imageSmoothingEnabled = scale < 2;
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  }
  const line = Math.max(1, text / 7);
  // The best last, so that nothing hides them.
  for (const { box, label } of [...detections].reverse()) {
    const [left, top, right, bottom] = box.map((value) => value * scale);
    // The line lies outside of the box, so that small objects stay visible.
    const rectangle = [left - line / 2, top - line / 2, right - left + line, bottom - top + line];
    context.lineWidth = line + 1.5;
    context.strokeStyle = "#0009";
    context.strokeRect(...rectangle);
    context.lineWidth = line;
    context.strokeStyle = classColor(label);
    context.strokeRect(...rectangle);
  }
  if (labels) drawLabels(context, detections, { scale, text, line });
}

// Words beside their boxes; those that would hide a better one's words are left out.
function drawLabels(context, detections, { scale, text, line }) {
  context.font = `${text}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const taken = [];
  for (const { box, score, label, name } of detections) {
    const [left, top, right, bottom] = box.map((value) => value * scale);
    const words = `${name.length > 23 ? `${name.slice(0, 22)}\u2026` : name} ${score.toFixed(2)}`;
    const width = context.measureText(words).width + text / 2;
    const height = text * 1.3;
    if (width > 3 * (right - left) + text && detections.length > 30) continue;
    const x = Math.max(0, Math.min(left - line, context.canvas.width - width));
    const above = top - line - height;
    const y = above >= 0 ? above : Math.min(bottom + line, context.canvas.height - height);
    const hides = taken.some(
      (other) =>
        x < other.x + other.width &&
        other.x < x + width &&
        y < other.y + height &&
        other.y < y + height,
    );
    if (hides) continue;
    taken.push({ x, y, width });
    context.fillStyle = classColor(label);
    context.fillRect(x, y, width, height);
    context.fillStyle = inkOn(context.fillStyle);
    context.fillText(words, x + text / 4, y + height / 2);
  }
}

// Black or white, whichever reads better; canvases give their colors back as #rrggbb.
function inkOn(color) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  return 0.299 * red + 0.587 * green + 0.114 * blue > 120 ? "#000" : "#fff";
}

// What is shown as files, in the form in which `foveal predict` writes them.

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const rounded = (value) => Math.round(value * 100) / 100;

function field(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function toCsv(images) {
  const lines = ["image,xmin,ymin,xmax,ymax,label,score,width,height,capped"];
  for (const image of images) {
    for (const { box, score, name } of image.detections) {
      const corners = box.map((value) => value.toFixed(2));
      const more = [field(name), score, image.width, image.height, image.capped];
      lines.push([field(image.name), ...corners, ...more].join(","));
    }
  }
  return `${lines.join("\n")}\n`;
}

export function toCoco(images) {
  const names = [...new Set(images.flatMap((image) => image.classes))];
  const annotations = [];
  images.forEach((image, index) => {
    for (const { box, score, name } of image.detections) {
      const [left, top, right, bottom] = box.map(rounded);
      const sides = [rounded(right - left), rounded(bottom - top)];
      annotations.push({
        id: annotations.length + 1,
        image_id: index + 1,
        category_id: names.indexOf(name) + 1,
        bbox: [left, top, ...sides],
        area: rounded(sides[0] * sides[1]),
        iscrowd: 0,
        score,
      });
    }
  });
  const document = {
    info: { description: "Detections, not checked by a person" },
    images: images.map((image, index) => ({
      id: index + 1,
      file_name: image.name,
      width: image.width,
      height: image.height,
      capped: image.capped,
    })),
    categories: names.map((name, index) => ({ id: index + 1, name })),
    annotations,
  };
  return `${JSON.stringify(document, null, 1)}\n`;
}

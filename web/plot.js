// A quiet line over the last minute, drawn on a canvas.

const KEPT = 120; // two values a second

export class Plot {
  #lines;
  #canvas;
  #floor;

  /** colours: names of custom properties, one for each line. floor: the least top of the scale. */
  constructor(canvas, colours, floor) {
    this.#canvas = canvas;
    this.#floor = floor;
    this.#lines = colours.map((colour) => ({ colour, values: [] }));
  }

  /** A value for each line. */
  add(...values) {
    this.#lines.forEach((line, at) => {
      line.values.push(values[at]);
      if (line.values.length > KEPT) line.values.shift();
    });
    this.#draw();
  }

  clear() {
    for (const line of this.#lines) line.values.length = 0;
    this.#draw();
  }

  #draw() {
    const canvas = this.#canvas;
    const scale = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * scale);
    const height = Math.round(canvas.clientHeight * scale);
    if (!width) return;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const context = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    context.clearRect(0, 0, width, height);
    context.strokeStyle = style.getPropertyValue("--line");
    context.lineWidth = scale;
    context.beginPath();
    context.moveTo(0, height - scale / 2);
    context.lineTo(width, height - scale / 2);
    context.stroke();
    const all = this.#lines.flatMap((line) => line.values);
    const top = Math.max(this.#floor, ...all) * 1.1;
    for (const { colour, values } of this.#lines) {
      context.strokeStyle = style.getPropertyValue(colour);
      context.lineWidth = 1.5 * scale;
      context.lineJoin = "round";
      context.beginPath();
      values.forEach((value, at) => {
        const x = width - ((values.length - 1 - at) * width) / (KEPT - 1);
        const y = height - 2 * scale - ((height - 4 * scale) * value) / top;
        if (at) context.lineTo(x, y);
        else context.moveTo(x, y);
      });
      context.stroke();
    }
  }
}

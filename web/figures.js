// The figures beside the picture, in numbers, lines and words.

import { Plot } from "./plot.js";

function round(value) {
  return value < 99.5 ? value.toFixed(1) : Math.round(value);
}

export class Figures {
  /** by: finds an element by its id. */
  constructor(by) {
    this.by = by;
    this.plots = {
      rate: new Plot(by("p-rate"), ["--accent", "--soft"], 10),
      fps: new Plot(by("p-fps"), ["--accent"], 30),
      delay: new Plot(by("p-delay"), ["--accent"], 200),
      loss: new Plot(by("p-loss"), ["--bad"], 5),
      age: new Plot(by("p-age"), ["--accent"], 10),
    };
  }

  /**
   * What the server tells. browserMs: what the browser adds to the delay. settings: what the person
   * asks for. call: not the try-out.
   */
  show(stats, browserMs, settings, call) {
    const { plots } = this;
    const age = stats.reference_age_s;
    const delay = stats.latency_ms ? stats.latency_ms + browserMs : 0;
    this.#write("n-payload", round(stats.payload_kbps));
    this.#write("n-wire", round(stats.onwire_kbps));
    this.#write("n-fps", round(stats.fps));
    this.#write("n-delay", Math.round(delay));
    plots.rate.add(stats.payload_kbps, stats.onwire_kbps);
    plots.fps.add(stats.fps);
    plots.delay.add(delay);
    this.#write("n-loss", round(stats.loss * 100));
    plots.loss.add(stats.loss * 100);
    this.#write("n-age", age === null ? "–" : Math.round(age));
    plots.age.add(age ?? 0);
    this.#badge(stats);
    this.#legend(stats);
    const beside = call ? "Enlarged" : "Plain VP8";
    this.#write("plain-label", `${beside} · ${stats.beside_px} px · ${round(stats.beside_kbps)} kbps`);
    this.#write("gemino-label", `Gemino · ${stats.size_px} px · ${round(stats.payload_kbps)} kbps`);
    this.#write("lr", stats.lr_px ? `${stats.lr_codec.toUpperCase()}, ${stats.lr_px} × ${stats.lr_px} px` : "nothing yet");
    this.#write("reference", sharp(stats));
    this.#write("machine", machine(stats));
    this.#write("rate-note", note(stats, settings, call));
  }

  /** The latest picture of the small stream, a JPEG. */
  async thumbnail(blob) {
    const picture = await createImageBitmap(blob).catch(() => null);
    if (!picture) return;
    const canvas = this.by("thumbnail");
    if (canvas.width !== picture.width) canvas.width = canvas.height = picture.width;
    canvas.getContext("2d").drawImage(picture, 0, 0);
    picture.close();
  }

  /** Nothing is shown any more. */
  hide() {
    for (const id of ["badge", "plain-label", "gemino-label", "legend"]) this.by(id).hidden = true;
  }

  clear() {
    for (const plot of Object.values(this.plots)) plot.clear();
    const canvas = this.by("thumbnail");
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  }

  #write(id, text) {
    this.by(id).textContent = text;
  }

  #legend({ carried, drawn }) {
    this.by("legend").hidden = carried === null;
    if (carried === null) return;
    this.#write("n-carried", `${Math.round(100 * carried)} %`);
    this.#write("n-drawn", `${Math.round(100 * drawn)} %`);
  }

  #badge(stats) {
    const badge = this.by("badge");
    badge.hidden = !stats.fps;
    badge.toggleAttribute("data-plain", !stats.neural);
    badge.textContent = stats.neural ? "Neurally rebuilt" : "Enlarged, not rebuilt";
    badge.title = stats.neural
      ? "Fine detail is carried over from an earlier sharp picture, or made up by a network"
      : "No sharp picture has arrived yet, or no model is in use";
  }
}

function sharp({ references }) {
  return references ? `${references} sharp picture${references > 1 ? "s" : ""} so far` : "no sharp picture yet";
}

function machine(stats) {
  if (!stats.ready) return "The model is being loaded …";
  const [width, height] = stats.camera_px;
  const words = `${stats.model}, camera ${width} × ${height} px`;
  if (stats.drawn_px >= stats.size_px) return words;
  return `${words}. Drawn at ${stats.drawn_px} px and enlarged: this machine is too slow or too busy for ${stats.size_px} px.`;
}

/** What there is to say of what the person has set. */
function note(stats, { kbps, overlay }, call) {
  const words = [];
  const now = call ? stats.sent_kbps : stats.payload_kbps;
  if (stats.sent_kbps) {
    words.push(`Now ${stats.sent_kbps.toFixed(1)} kbps, ${stats.sent_onwire_kbps.toFixed(1)} on the wire.`);
  }
  if (stats.fps && stats.kbps === kbps && now > 1.4 * stats.kbps) {
    words.push("Settling: a new rate begins with a whole picture.");
  }
  if (overlay && stats.fps && stats.carried === null) {
    words.push(stats.neural ? "The colours come with the next picture that is drawn." : "No network draws: there is nothing to lay colours over.");
  }
  return words.join(" ");
}

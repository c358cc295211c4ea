// Screenshots and recordings: files that the person asks for, made in the browser.

const KINDS = ["video/webm;codecs=vp9,opus", "video/webm;codecs=vp8,opus", "video/webm", "video/mp4"];

function save(blob, ending) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `gemino-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function screenshot(canvas) {
  canvas.toBlob((blob) => blob && save(blob, "png"), "image/png");
}

/** Records what the canvas shows, with sound, between two presses of `button`; then saves it. */
export class Recorder {
  #canvas;
  #button;
  #notice;
  #recorder = null;
  #since = 0;

  /** notice: shown while it records; its last element says for how long. */
  constructor(canvas, button, notice) {
    this.#canvas = canvas;
    this.#button = button;
    this.#notice = notice;
  }

  static get possible() {
    return "MediaRecorder" in window && "captureStream" in HTMLCanvasElement.prototype;
  }

  /** Begin, with the track `sound` if there is one, or end. */
  toggle(sound) {
    if (this.#recorder) {
      this.stop();
      return;
    }
    this.#recorder = this.#begin(sound);
    this.#since = performance.now();
    this.#show(true);
  }

  stop() {
    if (this.#recorder && this.#recorder.state !== "inactive") this.#recorder.stop();
    this.#recorder = null;
    this.#show(false);
  }

  /** Say for how long it has recorded, as minutes and seconds. */
  tell() {
    const seconds = Math.floor((performance.now() - this.#since) / 1000);
    const words = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    if (this.#recorder) this.#notice.lastElementChild.textContent = words;
  }

  #begin(sound) {
    const parts = [];
    const stream = this.#canvas.captureStream(30);
    if (sound) stream.addTrack(sound);
    const mimeType = KINDS.find((kind) => MediaRecorder.isTypeSupported(kind));
    const recorder = new MediaRecorder(stream, { mimeType, videoBitsPerSecond: 4_000_000 });
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.onstop = () => {
      stream.getVideoTracks()[0].stop();
      const type = recorder.mimeType;
      save(new Blob(parts, { type }), type.includes("mp4") ? "mp4" : "webm");
    };
    recorder.start(1000);
    return recorder;
  }

  #show(on) {
    this.#button.setAttribute("aria-pressed", on);
    this.#notice.hidden = !on;
  }
}

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

/** Records what the canvas shows, with `sound`, until it is stopped; then saves it. */
export class Recording {
  #recorder;
  #parts = [];
  #since = performance.now();

  constructor(canvas, sound) {
    const stream = canvas.captureStream(30);
    if (sound) stream.addTrack(sound);
    const mimeType = KINDS.find((kind) => MediaRecorder.isTypeSupported(kind));
    this.#recorder = new MediaRecorder(stream, { mimeType, videoBitsPerSecond: 4_000_000 });
    this.#recorder.ondataavailable = (event) => this.#parts.push(event.data);
    this.#recorder.onstop = () => {
      stream.getVideoTracks()[0].stop();
      const type = this.#recorder.mimeType;
      save(new Blob(this.#parts, { type }), type.includes("mp4") ? "mp4" : "webm");
    };
    this.#recorder.start(1000);
  }

  static get possible() {
    return "MediaRecorder" in window && "captureStream" in HTMLCanvasElement.prototype;
  }

  /** As minutes and seconds. */
  get length() {
    const seconds = Math.floor((performance.now() - this.#since) / 1000);
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  }

  stop() {
    if (this.#recorder.state !== "inactive") this.#recorder.stop();
  }
}

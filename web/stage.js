// The picture: one that fills the stage, or plain VP8 and Gemino with a divider to drag.
// The server sends both side by side in one picture, so that they show the same moment.

const STEP = 2;

export class Stage {
  #at = 50;
  #stop = () => {};

  constructor(canvas, video, divider, onSplit) {
    this.canvas = canvas;
    this.video = video;
    this.divider = divider;
    this.split = false;
    this.pictures = 0;
    this.onSplit = onSplit;
    this.#listen();
  }

  /** Draw what `stream` shows from now on. */
  start(stream) {
    this.#stop();
    const { video } = this;
    video.srcObject = stream;
    video.play().catch(() => {}); // a page that is left while it starts
    let running = true;
    const frame = video.requestVideoFrameCallback
      ? (draw) => video.requestVideoFrameCallback(draw)
      : (draw) => requestAnimationFrame(draw);
    const draw = () => {
      if (!running) return;
      this.#draw();
      frame(draw);
    };
    frame(draw);
    this.#stop = () => {
      running = false;
      video.srcObject = null;
    };
  }

  stop() {
    this.#stop();
    this.#show(false);
  }

  #draw() {
    const { video, canvas } = this;
    const { videoWidth: width, videoHeight: height } = video;
    if (!width) return;
    if (canvas.width !== height || canvas.height !== height) canvas.width = canvas.height = height;
    const split = width >= 2 * height;
    if (split !== this.split) this.#show(split);
    const context = canvas.getContext("2d");
    if (split) {
      const cut = Math.round((height * this.#at) / 100);
      const left = width - height; // where Gemino begins
      if (cut) context.drawImage(video, 0, 0, cut, height, 0, 0, cut, height);
      if (cut < height) {
        context.drawImage(video, left + cut, 0, height - cut, height, cut, 0, height - cut, height);
      }
    } else {
      context.drawImage(video, 0, 0, height, height);
    }
    this.pictures += 1;
  }

  #show(split) {
    this.split = split;
    this.divider.hidden = !split;
    this.onSplit(split);
  }

  #move(at) {
    this.#at = Math.min(100, Math.max(0, at));
    this.divider.style.setProperty("--at", this.#at);
    this.divider.setAttribute("aria-valuenow", Math.round(this.#at));
    this.divider.setAttribute("aria-valuetext", `${Math.round(this.#at)} % plain VP8`);
  }

  #listen() {
    const { divider } = this;
    const drag = (event) => {
      const box = this.canvas.getBoundingClientRect();
      this.#move((100 * (event.clientX - box.left)) / box.width);
    };
    divider.addEventListener("pointerdown", (event) => {
      divider.setPointerCapture(event.pointerId);
      divider.addEventListener("pointermove", drag);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      divider.addEventListener(name, () => divider.removeEventListener("pointermove", drag));
    }
    const keys = { ArrowLeft: -STEP, ArrowDown: -STEP, ArrowRight: STEP, ArrowUp: STEP, PageDown: -10, PageUp: 10, Home: -100, End: 100 };
    divider.addEventListener("keydown", (event) => {
      if (!(event.key in keys)) return;
      event.preventDefault();
      this.#move(this.#at + keys[event.key]);
    });
    this.#move(50);
  }
}

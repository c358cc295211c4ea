// The WebRTC connection to the Gemino peer that served this page. docs/browser.md has the messages.

const ALIVE_MS = 2000;
const SILENCE_MS = 4000;
const GATHER_MS = 1000;
const CAMERA_BPS = 6_000_000;

/** What went wrong, in words for the person; `final`: trying again is of no use. */
export class Trouble extends Error {
  constructor(words, final = false) {
    super(words);
    this.final = final;
  }
}

export async function about() {
  const answer = await fetch("about");
  if (!answer.ok) throw new Trouble((await words(answer)) ?? "The server refuses this page.", true);
  return answer.json();
}

async function words(answer) {
  try {
    return (await answer.json()).error;
  } catch {
    return null;
  }
}

/**
 * One session. Calls `on.picture(stream)`, `on.stats(object)`, `on.thumbnail(blob)`,
 * `on.ended(words)` when the server ends it, `on.lost()` when the server is gone.
 */
export class Connection {
  #peer = new RTCPeerConnection({ iceServers: [] });
  #channel = this.#peer.createDataChannel("page", { negotiated: true, id: 0 });
  #on;
  #timer = 0;
  #heard = performance.now();
  #over = false;
  #offer = null;
  #before = null;

  constructor(on) {
    this.#on = on;
    this.#channel.binaryType = "arraybuffer";
    this.#channel.onmessage = (event) => this.#message(event.data);
    this.#channel.onclose = () => this.#lost();
    this.#peer.ontrack = (event) => {
      const receiver = event.receiver;
      receiver.jitterBufferTarget = 0; // the newest picture, not the smoothest
      on.picture(event.track, event.streams[0]);
    };
    this.#peer.onconnectionstatechange = () => {
      if (this.#peer.connectionState === "failed") this.#lost();
    };
  }

  /** Make the offer to send the tracks of `stream`, before anybody waits for it. */
  prepare(stream) {
    this.#offer = this.#prepare(stream);
    this.#offer.catch(() => {}); // `open` will say so
  }

  async #prepare(stream) {
    const peer = this.#peer;
    for (const track of stream.getTracks()) {
      const video = track.kind === "video";
      const encodings = video ? [{ maxBitrate: CAMERA_BPS, maxFramerate: 30 }] : [{}];
      const transceiver = peer.addTransceiver(track, {
        direction: "sendrecv", streams: [stream], sendEncodings: encodings,
      });
      if (video) await fullSize(transceiver);
    }
    if (!stream.getAudioTracks().length) peer.addTransceiver("audio", { direction: "recvonly" });
    await peer.setLocalDescription();
    await gathered(peer);
  }

  /** Connect as it was prepared; throws Trouble. */
  async open(token) {
    const peer = this.#peer;
    await this.#offer;
    let answer;
    try {
      answer = await fetch("session", {
        method: "POST",
        headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
        body: JSON.stringify({ sdp: peer.localDescription.sdp }),
      });
    } catch {
      throw new Trouble("The server does not answer. Is gemino serve still running?");
    }
    if (!answer.ok) {
      throw new Trouble((await words(answer)) ?? `The server refuses (${answer.status}).`, true);
    }
    const { sdp } = await answer.json();
    if (this.#over) return;
    await peer.setRemoteDescription({ type: "answer", sdp });
    this.#heard = performance.now();
    this.#timer = setInterval(() => this.#watch(), ALIVE_MS / 2);
    if (this.#channel.readyState === "connecting") {
      await new Promise((resolve) => this.#channel.addEventListener("open", resolve, { once: true }));
    }
  }

  settings(settings) {
    this.#say({ type: "settings", ...settings });
  }

  /** Send this track in place of the one of its kind. */
  async replace(track) {
    const sender = this.#peer.getSenders().find((one) => one.track?.kind === track.kind);
    await sender?.replaceTrack(track);
  }

  close() {
    this.#say({ type: "bye" });
    this.#end();
  }

  /** What camera, encoder, link, jitter buffer and decoder of the browser add, in ms; estimated. */
  async delay() {
    const now = {};
    for (const one of (await this.#peer.getStats()).values()) {
      if (one.type === "outbound-rtp" && one.kind === "video") {
        now.encode = [one.totalEncodeTime, one.framesEncoded];
        now.pace = [one.totalPacketSendDelay, one.packetsSent];
      } else if (one.type === "inbound-rtp" && one.kind === "video") {
        now.buffer = [one.jitterBufferDelay, one.jitterBufferEmittedCount];
        now.decode = [one.totalDecodeTime, one.framesDecoded];
      } else if (one.type === "candidate-pair" && one.nominated) {
        now.trip = one.currentRoundTripTime ?? 0;
      }
    }
    const before = this.#before ?? {};
    this.#before = now;
    let seconds = now.trip ?? 0;
    for (const name of ["encode", "pace", "buffer", "decode"]) {
      const [sum, count] = now[name] ?? [0, 0];
      const [oldSum, oldCount] = before[name] ?? [0, 0];
      if (count > oldCount) seconds += (sum - oldSum) / (count - oldCount);
    }
    return seconds * 1000;
  }

  #say(message) {
    if (this.#channel.readyState === "open") this.#channel.send(JSON.stringify(message));
  }

  #message(data) {
    this.#heard = performance.now();
    if (typeof data !== "string") {
      this.#on.thumbnail(new Blob([data], { type: "image/jpeg" }));
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "stats") this.#on.stats(message);
    if (message.type === "end" && !this.#over) {
      this.#end();
      this.#on.ended(message.reason);
    }
  }

  #watch() {
    this.#say({ type: "alive" });
    if (performance.now() - this.#heard > SILENCE_MS) this.#lost();
  }

  #lost() {
    if (this.#over) return;
    this.#end();
    this.#on.lost();
  }

  #end() {
    this.#over = true;
    clearInterval(this.#timer);
    // Not at once: what was said last must leave first.
    setTimeout(() => this.#peer.close(), 50);
  }
}

/** Ask the browser to lower quality or rate rather than the size of the camera's pictures. */
async function fullSize(transceiver) {
  const codecs = RTCRtpSender.getCapabilities?.("video")?.codecs ?? [];
  const vp8 = codecs.filter((one) => /\/(vp8|rtx)$/i.test(one.mimeType));
  if (vp8.length) transceiver.setCodecPreferences?.(vp8);
  transceiver.sender.track.contentHint = "motion";
  const parameters = transceiver.sender.getParameters();
  parameters.degradationPreference = "maintain-resolution";
  try {
    await transceiver.sender.setParameters(parameters);
  } catch {
    // A browser without this parameter may send a smaller picture, which still works.
  }
}

function gathered(peer) {
  if (peer.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, GATHER_MS);
    peer.addEventListener("icegatheringstatechange", () => {
      if (peer.iceGatheringState !== "complete") return;
      clearTimeout(timer);
      resolve();
    });
  });
}

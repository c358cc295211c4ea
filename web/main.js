// The page: from the lobby through the try-out and back. The other modules know nothing of it.

import { about, Connection, Trouble } from "./connection.js";
import * as devices from "./devices.js";
import { Figures } from "./figures.js";
import { Recording, screenshot } from "./keeping.js";
import { Stage } from "./stage.js";

const AGAIN_MS = 2000;
const GIVE_UP_TRIES = 150;
const SETTINGS_MS = 250;

const by = (id) => document.getElementById(id);
const body = document.body;
const figures = new Figures(by);
const stage = new Stage(by("picture"), by("remote"), by("divider"), showSplit);
const settings = { kbps: 20, split: false, thumbnail: true, overlay: false };

let limits = { min_kbps: 6, max_kbps: 400, size_px: 512, mode: "tryout" };
let stream = null; // camera and microphone
let connection = null;
let prepared = null; // the next one, ready to be opened
let sound = null; // the track that comes back
let recording = null;
let stopMeter = () => {};
let retry = null;
let tries = 0;
let latest = null; // statistics

// ---- states

function say(state, words) {
  body.dataset.state = state;
  by("status").textContent = words;
}

function complain(words, again) {
  by("trouble").hidden = false;
  by("trouble").firstElementChild.textContent = words;
  by("again").hidden = !again;
  by("again").onclick = () => {
    settle();
    again();
  };
}

function settle() {
  clearTimeout(retry);
  by("trouble").hidden = true;
}

// ---- camera and microphone

async function turnOn() {
  settle();
  const cannot = devices.missing();
  if (cannot) {
    complain(cannot, null);
    by("allow").disabled = true;
    return;
  }
  try {
    await use(await devices.open(limits.size_px, by("cameras").value, by("microphones").value));
  } catch (error) {
    delete body.dataset.camera;
    complain(error.message, turnOn);
  }
}

async function use(opened) {
  stream?.getTracks().forEach((track) => track.stop());
  stream = opened;
  by("self").srcObject = stream;
  body.dataset.camera = "on";
  stopMeter();
  stopMeter = devices.meter(stream, (level) => by("level").style.setProperty("--level", level));
  stream.getVideoTracks()[0].addEventListener("ended", () => {
    complain("The camera is gone. Connect it again, then try again.", turnOn);
  });
  await devices.list(stream, by("cameras"), by("microphones"));
  by("start").disabled = false;
  if (connection) {
    for (const track of stream.getTracks()) await connection.replace(track);
  } else {
    prepare();
  }
}

// ---- the session

/** Have a connection ready, so that Start takes no longer than it must. */
function prepare() {
  prepared?.close();
  const mine = new Connection({
    picture: (track, source) => {
      if (track.kind === "audio") {
        sound = track;
        return;
      }
      stage.start(source ?? new MediaStream([track]));
      hear();
    },
    stats: showStats,
    thumbnail: (picture) => figures.thumbnail(picture),
    ended: (words) => {
      if (connection !== mine) return;
      connection = null;
      over();
      say("trouble", "Ended");
      complain(words, start);
    },
    lost: () => {
      if (connection !== mine) return;
      connection = null;
      over();
      reconnect("The server does not answer any more. Trying again until it is back …");
    },
  });
  mine.prepare(stream);
  prepared = mine;
}

async function start() {
  settle();
  stopMeter();
  say(body.dataset.state === "trouble" ? "trouble" : "connecting", "Connecting");
  if (!prepared) prepare();
  const mine = prepared;
  prepared = null;
  connection = mine;
  try {
    await mine.open(location.hash.slice(1));
    if (connection !== mine) return;
    tries = 0;
    settle();
    say("live", limits.mode === "call" ? "Waiting for the other side" : "Connected");
    tell();
  } catch (error) {
    if (connection !== mine) return;
    mine.close();
    connection = null;
    if (error instanceof Trouble && error.final) {
      say("trouble", "Not connected");
      complain(error.message, start);
    } else {
      reconnect("The server does not answer. Trying again until it is back …");
    }
  }
}

function reconnect(words) {
  say("trouble", "Server gone");
  tries += 1;
  complain(words, start);
  if (tries < GIVE_UP_TRIES) retry = setTimeout(start, AGAIN_MS);
}

function over() {
  stage.stop();
  stopRecording();
  sound = null;
  latest = null;
  delete body.dataset.picture;
  figures.hide();
}

function leave() {
  settle();
  connection?.close();
  prepared?.close();
  connection = prepared = null;
  over();
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  delete body.dataset.camera;
  by("start").disabled = true;
  for (const id of ["mute", "hide", "split", "origins"]) press(by(id), false);
  settings.split = settings.overlay = false;
  delete body.dataset.hidden;
  figures.clear();
  say("lobby", "Ready when you are");
  by("allow").focus();
}

// ---- what the person sets

let waiting = null;

function tell() {
  if (waiting) return;
  waiting = setTimeout(() => {
    waiting = null;
    connection?.settings(settings);
  }, connection && latest ? SETTINGS_MS : 0);
}

function setRate() {
  const { min_kbps: least, max_kbps: most } = limits;
  const kbps = least * (most / least) ** (by("rate").value / 1000);
  settings.kbps = Math.min(most, Math.max(least, kbps < 30 ? Math.round(kbps * 2) / 2 : Math.round(kbps)));
  by("rate-value").textContent = `${settings.kbps} kbps`;
  by("rate").setAttribute("aria-valuetext", `${settings.kbps} kilobits a second`);
  tell();
}

function place(kbps) {
  const { min_kbps: least, max_kbps: most } = limits;
  by("rate").value = Math.round((1000 * Math.log(kbps / least)) / Math.log(most / least));
}

function press(button, on) {
  button.setAttribute("aria-pressed", on);
}

function toggle(button) {
  const on = button.getAttribute("aria-pressed") !== "true";
  press(button, on);
  return on;
}

function mute() {
  const on = toggle(by("mute"));
  stream?.getAudioTracks().forEach((track) => (track.enabled = !on));
}

function hide() {
  const on = toggle(by("hide"));
  stream?.getVideoTracks().forEach((track) => (track.enabled = !on));
  if (on) body.dataset.hidden = "on";
  else delete body.dataset.hidden;
}

function compare() {
  settings.split = toggle(by("split"));
  tell();
}

function explain() {
  settings.overlay = toggle(by("origins"));
  tell();
}

function hear() {
  by("remote").muted = limits.mode === "tryout" && !by("hear").checked;
}

function record() {
  if (recording) {
    stopRecording();
    return;
  }
  recording = new Recording(by("picture"), sound);
  press(by("record"), true);
  by("recording").hidden = false;
}

function stopRecording() {
  recording?.stop();
  recording = null;
  press(by("record"), false);
  by("recording").hidden = true;
}

// ---- what is shown

function showSplit(split) {
  if (split) body.dataset.split = "on";
  else delete body.dataset.split;
  by("plain-label").hidden = by("gemino-label").hidden = !split;
}

async function showStats(stats) {
  latest = stats;
  const browserMs = await (connection?.delay().catch(() => 0) ?? 0);
  if (latest !== stats) return;
  if (stats.fps) body.dataset.picture = "on";
  figures.show(stats, browserMs, limits.mode === "call");
  if (limits.mode === "call" && stats.fps) by("status").textContent = "In the call";
  by("rate-note").textContent = rateNote(stats);
  if (recording) by("recording").lastElementChild.textContent = recording.length;
}

function rateNote(stats) {
  const words = [];
  const now = limits.mode === "call" ? stats.sent_kbps : stats.payload_kbps;
  if (stats.sent_kbps) {
    words.push(`Now ${stats.sent_kbps.toFixed(1)} kbps, ${stats.sent_onwire_kbps.toFixed(1)} on the wire.`);
  }
  if (stats.fps && stats.kbps === settings.kbps && now > 1.4 * stats.kbps) {
    words.push("Settling: a new rate begins with a whole picture.");
  }
  if (settings.overlay && stats.fps && stats.carried === null) {
    words.push(stats.neural ? "The colours come with the next picture that is drawn." : "No network draws: there is nothing to lay colours over.");
  }
  return words.join(" ");
}

// ---- wiring

function listen() {
  by("allow").onclick = turnOn;
  by("cameras").onchange = by("microphones").onchange = turnOn;
  by("lobby").onsubmit = (event) => {
    event.preventDefault();
    start();
  };
  by("rate").oninput = setRate;
  by("hear").onchange = hear;
  const keys = { m: "mute", v: "hide", s: "split", o: "origins", p: "shot", r: "record" };
  const actions = { mute, hide, split: compare, origins: explain, shot: () => screenshot(by("picture")), record, leave };
  for (const [id, action] of Object.entries(actions)) by(id).onclick = action;
  by("record").hidden = !Recording.possible;
  addEventListener("keydown", (event) => {
    const typing = event.target.matches?.("select, input:not([type=range])");
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    const button = by(keys[event.key] ?? "mute");
    if (connection && plain && !typing && event.key in keys && button.offsetParent) button.click();
  });
  addEventListener("pagehide", () => connection?.close());
}

async function begin() {
  listen();
  try {
    limits = await about();
    settings.kbps = limits.kbps;
    body.dataset.mode = limits.mode;
    if (limits.mode === "call") document.title = "Gemino: a call";
  } catch (error) {
    complain(error instanceof Trouble ? error.message : "The server does not answer.", () => location.reload());
    return;
  }
  place(settings.kbps);
  setRate();
  const cannot = devices.missing();
  if (cannot) {
    complain(cannot, null);
    by("allow").disabled = true;
  } else if (await devices.allowed()) {
    await turnOn();
  }
}

begin();

// The page: from the lobby through the try-out and back. The other modules know nothing of it.

import { about, Connection, Trouble } from "./connection.js";
import * as devices from "./devices.js";
import { Figures } from "./figures.js";
import { Recorder, screenshot } from "./keeping.js";
import { Rate } from "./rate.js";
import { Stage } from "./stage.js";

const AGAIN_MS = 2000;
const GIVE_UP_TRIES = 150;
const SETTINGS_MS = 250;

const by = (id) => document.getElementById(id);
const body = document.body;
const figures = new Figures(by);
const recorder = new Recorder(by("picture"), by("record"), by("recording"));
const rate = new Rate(by("rate"), by("rate-value"), (kbps) => {
  settings.kbps = kbps;
  tell();
});
const stage = new Stage(by("picture"), by("remote"), by("divider"), showSplit);
const settings = { kbps: 20, split: false, thumbnail: true, overlay: false };

let limits = { min_kbps: 6, max_kbps: 400, size_px: 512, mode: "tryout" };
let stream = null; // camera and microphone
let connection = null;
let prepared = null; // the next one, ready to be opened
let sound = null; // the track that comes back
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
  obey();
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
  recorder.stop();
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

function press(button, on) {
  button.setAttribute("aria-pressed", on);
}

function pressed(button) {
  return button.getAttribute("aria-pressed") === "true";
}

/** Let camera and microphone, new ones as well, be off where the person has switched them off. */
function obey() {
  stream?.getAudioTracks().forEach((track) => (track.enabled = !pressed(by("mute"))));
  stream?.getVideoTracks().forEach((track) => (track.enabled = !pressed(by("hide"))));
}

function toggle(button) {
  press(button, !pressed(button));
  obey();
  return pressed(button);
}

function mute() {
  toggle(by("mute"));
}

function hide() {
  if (toggle(by("hide"))) body.dataset.hidden = "on";
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
  figures.show(stats, browserMs, settings, limits.mode === "call");
  if (limits.mode === "call" && stats.fps) by("status").textContent = "In the call";
  recorder.tell();
}

// ---- wiring

function listen() {
  by("allow").onclick = turnOn;
  by("cameras").onchange = by("microphones").onchange = turnOn;
  by("lobby").onsubmit = (event) => {
    event.preventDefault();
    start();
  };
  by("hear").onchange = hear;
  const keys = { m: "mute", v: "hide", s: "split", o: "origins", p: "shot", r: "record" };
  const actions = { mute, hide, split: compare, origins: explain, shot: () => screenshot(by("picture")), record: () => recorder.toggle(sound), leave };
  for (const [id, action] of Object.entries(actions)) by(id).onclick = action;
  by("record").hidden = !Recorder.possible;
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
  rate.begin(limits);
  const cannot = devices.missing();
  if (cannot) {
    complain(cannot, null);
    by("allow").disabled = true;
  } else if (await devices.allowed()) {
    await turnOn();
  }
}

begin();

// Camera and microphone: asking for them, listing them, and saying in words why there are none.

import { Trouble } from "./connection.js";

const WORDS = {
  NotAllowedError: "The camera is not allowed for this page. Allow it in the browser's address bar, then try again.",
  NotFoundError: "No camera was found. Connect one, then try again.",
  NotReadableError: "The camera is in use by another program. Close that, then try again.",
  OverconstrainedError: "This camera cannot be used. Choose another one.",
  AbortError: "The camera stopped. Try again.",
};

/** Why this browser cannot take part at all, or null. */
export function missing() {
  if (!window.isSecureContext) {
    return "A browser gives its camera to safe pages alone: open this one as https://, or on this machine as http://localhost.";
  }
  if (!navigator.mediaDevices?.getUserMedia) return "This browser has no camera for pages. Try Chromium or Firefox.";
  if (!window.RTCPeerConnection) return "This browser has no WebRTC, or it is turned off. Try Chromium or Firefox.";
  return null;
}

/** Whether the camera may be opened without asking. */
export async function allowed() {
  try {
    return (await navigator.permissions.query({ name: "camera" })).state === "granted";
  } catch {
    return false;
  }
}

/** Open camera and, where there is one, microphone; throws Trouble. */
export async function open(sizePx, cameraId, microphoneId) {
  const video = {
    width: { ideal: sizePx }, height: { ideal: sizePx }, frameRate: { ideal: 30, max: 30 },
    ...(cameraId && { deviceId: { exact: cameraId } }),
  };
  const audio = {
    echoCancellation: true, noiseSuppression: true,
    ...(microphoneId && { deviceId: { exact: microphoneId } }),
  };
  try {
    return await navigator.mediaDevices.getUserMedia({ video, audio });
  } catch (error) {
    if (error.name === "NotAllowedError") throw new Trouble(WORDS.NotAllowedError);
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ video }); // no microphone: no reason to stop
  } catch (error) {
    throw new Trouble(WORDS[error.name] ?? `The camera cannot be used (${error.name}).`);
  }
}

/** Fill both selects with what there is, and choose what `stream` uses. */
export async function list(stream, cameras, microphones) {
  const devices = await navigator.mediaDevices.enumerateDevices();
  fill(cameras, devices, "videoinput", "Camera", stream.getVideoTracks()[0]);
  fill(microphones, devices, "audioinput", "Microphone", stream.getAudioTracks()[0]);
}

function fill(select, devices, kind, name, track) {
  const options = devices
    .filter((device) => device.kind === kind && device.deviceId)
    .map((device, at) => new Option(device.label || `${name} ${at + 1}`, device.deviceId));
  if (!options.length) options.push(new Option(`No ${name.toLowerCase()}`, ""));
  select.replaceChildren(...options);
  select.disabled = options.length < 2 && !options[0].value;
  const used = track?.getSettings().deviceId;
  if (options.some((option) => option.value === used)) select.value = used;
}

/** Shows how loud the microphone is; returns a function that stops it. */
export function meter(stream, show) {
  if (!stream.getAudioTracks().length) {
    show(0);
    return () => {};
  }
  const context = new AudioContext();
  const analyser = new AnalyserNode(context, { fftSize: 512 });
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, one) => sum + one * one, 0) / samples.length;
    show(Math.min(100, Math.max(0, 100 + 25 * Math.log10(power + 1e-9))));
  }, 100);
  return () => {
    clearInterval(timer);
    if (context.state !== "closed") context.close();
  };
}

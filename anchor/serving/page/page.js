"use strict";
// One page, one session. WebRTC first; where no UDP gets through, the same packets as MP4 over a WebSocket.

const WORDS = {
  en: { label: "What shall I say?", speak: "Speak", ask: "Ask", interrupt: "Stop", talk: "Hold to talk",
    free: "Hands free", rate: "pictures / s", trip: "delay", first: "to first sound", late: "late mouths", way: "way",
    sound: "Sound on", connecting: "Connecting …", gone: "The session has ended. Reload the page.",
    token: "Access token", placeholder: "Good evening. Here is the news.", other: "中文",
    record: "Record", stopRecord: "End recording", keep: "Save the film" },
  zh: { label: "想让我说什么?", speak: "播报", ask: "提问", interrupt: "停止", talk: "按住说话", free: "免按通话",
    rate: "帧 / 秒", trip: "延迟", first: "首个声音", late: "迟到帧", way: "传输", sound: "打开声音",
    connecting: "正在连接 …", gone: "会话已结束,请刷新页面。", token: "访问令牌", placeholder: "晚上好,欢迎收看新闻。",
    other: "English", record: "录制", stopRecord: "结束录制", keep: "保存视频" },
};
const CONNECT_MS = 4000, BEAT_MS = 2000, LOUD = 0.02, QUIET_MS = 600;
const $ = (id) => document.getElementById(id);
const video = $("video");
let language = (localStorage.language || navigator.language || "en").startsWith("zh") ? "zh" : "en";
let token = new URLSearchParams(location.hash.slice(1)).get("token") || sessionStorage.token || "";
let session = null, events = null, asked = 0, peer = null, tries = 0;

function words() {
  const text = WORDS[language];
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = text[node.dataset.text];
  $("language").textContent = text.other;
  $("text").placeholder = text.placeholder;
}

function notice(text) { $("notice").textContent = text; }

async function call(method, path, body, keepalive = false) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(`api/${path}`, { method, headers, keepalive, body: body === undefined ? undefined : JSON.stringify(body) });
  if (answer.status === 401) {
    token = sessionStorage.token = prompt(WORDS[language].token) || "";
    if (token) return call(method, path, body);
  }
  const content = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Error(content.error || content.detail || answer.statusText);
  return content;
}

const attempt = (work) => async (...all) => { try { notice(""); await work(...all); } catch (error) { notice(error.message); } };

function socket(path) {
  const address = new URL(`api/sessions/${session.id}/${path}`, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const opened = new WebSocket(address, token ? ["anchor", `token.${token}`] : ["anchor"]);
  opened.binaryType = "arraybuffer";
  return opened;
}

async function begin() {
  notice(WORDS[language].connecting);
  const avatars = await call("GET", "avatars");
  session = await call("POST", "sessions", { avatar: avatars[0].name });
  show(avatars);
  $("recording").hidden = !session.records;
  ways = await call("GET", "conversation");
  $("ask").hidden = !ways.chat;
  listen();
  addEventListener("pagehide", () => call("DELETE", `sessions/${session.id}`, undefined, true).catch(() => {}));
  setInterval(() => events.readyState === 1 && events.send(JSON.stringify(view)), BEAT_MS);
  if (!(await watchPeer())) watchStream();
  notice("");
}

function listen() {
  events = socket("events");
  events.onopen = () => { tries = 0; };
  events.onmessage = (message) => happened(JSON.parse(message.data));
  events.onclose = ({ code }) => {  // 44xx: the session is gone; else the line broke, and it waits for us a while
    if (code >= 4000 || code === 1000 || (tries += 1) > 6) notice(WORDS[language].gone); else setTimeout(listen, 500);
  };
}

function show(avatars) {
  $("avatars").replaceChildren(...avatars.map((avatar) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: avatar.name });
    button.setAttribute("role", "radio");
    button.setAttribute("aria-checked", String(avatar.name === session.avatar));
    button.onclick = attempt(async () => {
      session.avatar = (await call("POST", `sessions/${session.id}/avatar`, { name: avatar.name })).avatar;
      show(avatars);
    });
    return button;
  }));
  const mine = avatars.find((avatar) => avatar.name === session.avatar);
  $("actions").replaceChildren(...(mine ? mine.actions : []).map((name) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
    button.onclick = attempt(() => call("POST", `sessions/${session.id}/act`, { name }));
    return button;
  }));
}

async function watchPeer() {
  if (!window.RTCPeerConnection || new URLSearchParams(location.search).get("way") === "stream") return false;
  peer = new RTCPeerConnection();
  for (const kind of ["video", "audio"]) peer.addTransceiver(kind, { direction: "recvonly" });
  const media = new MediaStream();
  peer.ontrack = (event) => { media.addTrack(event.track); video.srcObject = media; };
  await peer.setLocalDescription(await peer.createOffer());
  await new Promise((done) => {
    if (peer.iceGatheringState === "complete") return done();
    peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && done();
    setTimeout(done, 1500);
  });
  await peer.setRemoteDescription(await call("POST", `sessions/${session.id}/offer`, { sdp: peer.localDescription.sdp }));
  const connected = await new Promise((done) => {
    const look = () => peer.connectionState === "connected" && done(true);
    peer.onconnectionstatechange = look;
    look();
    setTimeout(() => done(peer.connectionState === "connected"), CONNECT_MS);
  });
  if (!connected) { peer.close(); peer = null; return false; }
  $("way").textContent = "WebRTC";
  return true;
}

function watchStream() {
  $("way").textContent = "WebSocket";
  const source = new MediaSource(), waiting = [];
  video.srcObject = null;
  video.src = URL.createObjectURL(source);
  source.onsourceopen = () => {
    const buffer = source.addSourceBuffer(session.stream_type);
    const pump = () => { if (!buffer.updating && waiting.length) buffer.appendBuffer(waiting.shift()); };
    buffer.onupdateend = pump;
    const film = socket("stream");
    film.onmessage = (message) => { waiting.push(message.data); pump(); };
    setInterval(() => {
      if (!video.buffered.length) return;
      const end = video.buffered.end(video.buffered.length - 1);
      if (end - video.currentTime > 0.4) video.currentTime = end - 0.1;  // live: never fall behind
      if (!buffer.updating && end - video.buffered.start(0) > 30) buffer.remove(0, end - 10);
      video.play().catch(() => {});
    }, 500);
  };
}

function happened(event) {
  if (event.event === "state") {
    const share = event.mouths ? (100 * event.late) / event.mouths : 0;
    $("late").textContent = `${share.toFixed(1)} %`;
    if (event.recording) showRecording(event.recording);
  } else if (event.event === "speaking" && asked) {
    $("first").textContent = `${Math.round(performance.now() - asked)} ms`;
    asked = 0;
  } else if (event.event === "failed" || event.event === "voice") {
    notice(event.reason);
  } else if (event.event === "recording") {
    showRecording(event);
  } else if (event.event === "heard" && event.text) {
    $("text").value = event.text;
  } else if (event.event === "closed") {
    notice(WORDS[language].gone);
  }
}

let pictures = 0;
const view = {};  // what is shown here, told to the server with every beat
function counted() { pictures += 1; video.requestVideoFrameCallback(counted); }
if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(counted);
setInterval(async () => {
  $("rate").textContent = String(pictures);
  view.rate = pictures;
  pictures = 0;
  if (!peer) return;
  const played = {};
  for (const report of (await peer.getStats()).values()) {
    if (report.type === "candidate-pair" && report.nominated && report.currentRoundTripTime !== undefined) {
      view.trip_ms = 1000 * report.currentRoundTripTime;
      $("trip").textContent = `${Math.round(view.trip_ms)} ms`;
    }
    if (report.type !== "inbound-rtp") continue;
    if (report.estimatedPlayoutTimestamp) played[report.kind] = report.estimatedPlayoutTimestamp;
    if (report.kind === "video") view.dropped = report.framesDropped;
    if (report.kind === "video" && report.jitterBufferEmittedCount)
      view.delay_ms = 1000 * report.jitterBufferDelay / report.jitterBufferEmittedCount;
  }
  if (played.audio && played.video) view.skew_ms = played.audio - played.video;  // above 0: the picture is late
}, 1000);

// The microphone: 20 ms pieces of int16 to the session; hands free sends while somebody speaks, and that interrupts.
let ways = {}, microphone = null, line = null, isTalking = false, lastLoud = 0;
const WORKLET = `registerProcessor("pieces", class extends AudioWorkletProcessor {
  constructor() { super(); this.kept = new Float32Array(0); }
  process([input]) {
    if (!input[0]) return true;
    const joined = new Float32Array(this.kept.length + input[0].length);
    joined.set(this.kept); joined.set(input[0], this.kept.length);
    const size = sampleRate / 50; let at = 0;
    for (; at + size <= joined.length; at += size) this.port.postMessage(joined.slice(at, at + size));
    this.kept = joined.slice(at);
    return true;
  } })`;

async function openMicrophone() {
  if (microphone) return;
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true } });
  microphone = new AudioContext();
  await microphone.audioWorklet.addModule(URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" })));
  const node = new AudioWorkletNode(microphone, "pieces");
  node.port.onmessage = ({ data }) => heard(data);
  microphone.createMediaStreamSource(stream).connect(node);
}

// Where the server listens, hands free sends all that is heard: it finds out itself who speaks, and answers.
function openEar() {
  line = socket("microphone");
  line.onopen = () => line.send(JSON.stringify({ rate: microphone.sampleRate }));
  isTalking = true;
}

function heard(piece) {
  const level = Math.sqrt(piece.reduce((sum, value) => sum + value * value, 0) / piece.length);
  if ($("free").checked && !ways.microphone) {
    if (level > LOUD) lastLoud = performance.now();
    const wants = performance.now() - lastLoud < QUIET_MS;
    if (wants && !isTalking) startTalking(); else if (!wants && isTalking) stopTalking();
  }
  if (isTalking && line && line.readyState === 1)
    line.send(Int16Array.from(piece, (value) => Math.max(-32768, Math.min(32767, Math.round(32767 * value)))).buffer);
}

const startTalking = attempt(async () => {
  isTalking = true;
  if (line) line.close();
  $("talk").classList.add("on");
  await openMicrophone();
  await call("POST", `sessions/${session.id}/interrupt`);
  if (!isTalking) return;  // let go before the microphone was there
  line = socket("speech");
  line.onopen = () => line.send(JSON.stringify({ rate: microphone.sampleRate }));
});

function stopTalking() {
  isTalking = false;
  $("talk").classList.remove("on");
  if (line && line.readyState === 1) { line.send(JSON.stringify({ end: true })); line.close(); }
  line = null;
}

$("say").onsubmit = attempt(async (event) => {
  event.preventDefault();
  asked = performance.now();
  await call("POST", `sessions/${session.id}/say`, { text: $("text").value });
});
$("say").addEventListener("submit", (event) => event.preventDefault());
$("ask").onclick = attempt(async () => {
  asked = performance.now();
  await call("POST", `sessions/${session.id}/chat`, { text: $("text").value, interrupt: true });
  $("text").value = "";
});
$("interrupt").onclick = attempt(() => call("POST", `sessions/${session.id}/interrupt`));
$("talk").onpointerdown = startTalking;
$("talk").onpointerup = $("talk").onpointercancel = stopTalking;
$("talk").oncontextmenu = (event) => event.preventDefault();  // of a finger that holds
$("free").onchange = attempt(async () => {
  if (!$("free").checked) return stopTalking();
  await openMicrophone();
  if (ways.microphone) openEar();
});
$("sound").onclick = () => { video.muted = !video.muted; $("sound").hidden = !video.muted; };

// Recording: the server names the film, and keeps it; who recorded it may save it.
let isRecorded = false, recordingShown = "";
function showRecording(film) {
  const told = `${film.name} ${film.state} ${Math.round(film.seconds)} ${language}`;
  if (told === recordingShown) return;
  recordingShown = told;
  isRecorded = film.state === "recording";
  $("record").classList.toggle("on", isRecorded);
  $("record").dataset.text = isRecorded ? "stopRecord" : "record";
  $("record").textContent = WORDS[language][$("record").dataset.text];
  if (film.reason) notice(film.reason);
  $("recorded").replaceChildren(`${Math.round(film.seconds)} s`);
  if (film.state !== "finished") return;
  const save = Object.assign(document.createElement("button"), { type: "button", textContent: WORDS[language].keep });
  save.onclick = attempt(async () => {
    const answer = await fetch(`api/recordings/${film.name}`, { headers: token ? { Authorization: `Bearer ${token}` } : {} });
    if (!answer.ok) throw new Error((await answer.json()).error);
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(await answer.blob()), download: film.name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  });
  $("recorded").append(save);
}
$("record").onclick = attempt(async () =>
  showRecording(await call(isRecorded ? "DELETE" : "POST", `sessions/${session.id}/recording`)));
$("language").onclick = () => { language = localStorage.language = language === "zh" ? "en" : "zh"; words(); };
$("text").onkeydown = (event) => { if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); $("speak").click(); } };
// A phone's keyboard leaves little of the window: what is typed and the buttons below it stay in sight.
addEventListener("resize", () => document.activeElement === $("text") && $("say").scrollIntoView({ block: "nearest" }));
words();
attempt(begin)();

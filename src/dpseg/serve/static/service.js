// Talks to the REST interface of the server that this page came from.

const TOKEN_KEY = "dpseg-token";
const POLL_MILLISECONDS = 300;

export const token = {
  get: () => sessionStorage.getItem(TOKEN_KEY) ?? "",
  set: (value) => sessionStorage.setItem(TOKEN_KEY, value.trim()),
};

/** An answer that is not the wanted one; `message` is for people. */
export class ServiceError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const headers = () => (token.get() ? { Authorization: `Bearer ${token.get()}` } : {});

const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1);

const UNREACHABLE = "The service does not answer. Is it still running?";

function failure(status, text) {
  try {
    return new ServiceError(sentence(JSON.parse(text).error.message), status);
  } catch {
    return new ServiceError(`The service answered with status ${status}.`, status);
  }
}

/** Ask for something, with a body by POST; what goes wrong is a `ServiceError`. */
export async function get(path, body) {
  const post = { method: "POST", body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(path, {
      ...(body && post),
      headers: { ...headers(), ...(body && { "Content-Type": "application/json" }) },
    });
  } catch {
    throw new ServiceError(UNREACHABLE, 0);
  }
  if (!response.ok) throw failure(response.status, await response.text());
  return response;
}

export const models = async () => (await get("/v1/models")).json();
export const explain = async (id, x, y) =>
  (await get(`/v1/results/${id}/explain?x=${x}&y=${y}`)).json();
export const correct = async (id, corrections) =>
  (await get(`/v1/results/${id}/corrections`, { corrections })).json();
export const picture = async (id, path) => (await get(`/v1/results/${id}/${path}`)).blob();

/**
 * Segment a photo.
 * @param {FormData} question
 * @param {AbortSignal} signal
 * @param {(step: {share: number|null, words: string}) => void} tell is told how far it is
 */
export function segment(question, signal, tell) {
  const id = [...crypto.getRandomValues(new Uint8Array(12))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    let timer;
    const poll = async () => {
      try {
        tell(inWords(await (await get(`/v1/progress/${id}`)).json()));
      } catch {
        // The answer itself will say what is wrong.
      }
      if (request.readyState !== XMLHttpRequest.DONE) timer = setTimeout(poll, POLL_MILLISECONDS);
    };
    request.open("POST", "/v1/segment");
    request.setRequestHeader("X-Request-Id", id);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) =>
      tell({ share: 0.3 * (event.loaded / event.total), words: "Sending the photo …" });
    request.upload.onload = () => {
      tell({ share: 0.3, words: "Waiting …" });
      timer = setTimeout(poll, POLL_MILLISECONDS);
    };
    request.onloadend = () => clearTimeout(timer);
    request.onload = () =>
      request.status === 200
        ? resolve(JSON.parse(request.responseText))
        : reject(failure(request.status, request.responseText));
    request.onerror = () => reject(new ServiceError(UNREACHABLE, 0));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(question);
  });
}

function inWords({ state, ahead, seconds, expected_seconds: expected }) {
  if (state === "waiting") {
    const before = ahead === 1 ? "1 photo is before yours" : `${ahead} photos are before yours`;
    return { share: null, words: ahead ? `Waiting: ${before}.` : "Waiting: yours is next." };
  }
  if (state === "running") {
    const share = expected ? 0.3 + 0.65 * (1 - Math.exp((-1.5 * seconds) / expected)) : null;
    return { share, words: `Looking at the photo … ${seconds.toFixed(0)} s` };
  }
  return { share: null, words: "Working …" };
}

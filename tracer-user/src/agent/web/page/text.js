// Numbers as people read them. What is not known is a dash.

export const NOTHING = "–";
const known = (value, show) => (value == null || Number.isNaN(value) ? NOTHING : show(value));
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

function scaled(value, units, step) {
  let at = 0;
  let size = Math.abs(value);
  // 1023.96 KiB is shown as 1.0 MiB.
  while (size >= step * 0.99995 && at + 1 < units.length) {
    size /= step;
    at += 1;
  }
  const digits = at === 0 ? Math.round(size).toString() : size.toFixed(1);
  return `${value < 0 ? "-" : ""}${digits} ${units[at]}`;
}

export const bytes = value => known(value, it => scaled(it, UNITS, 1024));
export const rate = value => known(value, it => `${bytes(it)}/s`);
export const count = value => known(value, it => Math.round(it).toLocaleString("en-US"));
export const percent = value => known(value, it => `${(it * 100).toFixed(it < 0.0995 ? 2 : 1)} %`);

/** A length of time in seconds. */
export const seconds = value => known(value, it => {
  if (it === 0) return "0 s";
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1], ["ms", 1e-3], ["µs", 1e-6]]) {
    if (it >= size || unit === "µs") return `${(it / size).toFixed(it / size < 10 ? 1 : 0)} ${unit}`;
  }
});

/** When something happens that happens in so many seconds. */
export const ahead = value => known(value, it => (it <= 0 ? "reached" : `in ${seconds(it)}`));

const pad = number => String(number).padStart(2, "0");

/** A time of today, or a day and a time. */
export const clock = millis => known(millis, it => {
  const at = new Date(it);
  const time = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  const isToday = at.toDateString() === new Date().toDateString();
  return isToday ? time : `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${time}`;
});

/** An amount in one of pprof's units. */
export function amount(value, unit) {
  if (unit === "bytes") return bytes(value);
  if (unit === "nanoseconds") return known(value, it => (it < 0 ? `-${seconds(-it / 1e9)}` : seconds(it / 1e9)));
  return count(value);
}

/** `3 leaks`, `1 leak`. */
export const counted = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** Where a process runs, in short. */
export function place(process) {
  const container = process.container_name ?? process.container?.slice(0, 12);
  const pod = process.pod_name && [process.pod_namespace, process.pod_name].filter(Boolean).join("/");
  return [pod, container].filter(Boolean).join(" · ") || process.unit || null;
}

/** `main.read (conn.go:31)` */
export function frame({ function: name, file, line }) {
  const short = file.split("/").slice(-1)[0];
  return line > 0 ? `${name} (${short}:${line})` : name;
}

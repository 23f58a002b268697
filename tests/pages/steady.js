/* Takes out of a page what differs from one scene to the next: ids, digests, keys, durations, and the
   day on which the scene was built. Called with the milliseconds by which dates are moved. */
(shift) => {
  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const LONG = ["January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December"];
  const two = (number) => String(number).padStart(2, "0");

  // The browser's clock stands still; the server's went on while the pages were looked at.
  const present = Date.now() + shift;

  function moved(day, month, year, hours, minutes, seconds) {
    const then = Date.UTC(year, month, day, hours ?? 12, minutes ?? 0, seconds ?? 0) + shift;
    return new Date(then > present && then < present + 3600000 ? present : then);
  }

  function spoken(_, day, name, year, separator, hours, minutes, seconds) {
    const short = MONTHS.indexOf(name);
    const month = short < 0 ? LONG.indexOf(name) : short;
    const then = moved(day, month, year, hours, minutes, seconds);
    const clock = hours === undefined ? "" : `${separator}${two(then.getUTCHours())}:${two(then.getUTCMinutes())}`;
    const names = short < 0 ? LONG : MONTHS;
    const exact = seconds === undefined ? "" : ":00";
    return `${then.getUTCDate()} ${names[then.getUTCMonth()]} ${then.getUTCFullYear()}${clock}${exact}`;
  }

  function written(_, year, month, day, separator, hours, minutes, seconds) {
    const text = moved(day, month - 1, year, hours, minutes, seconds).toISOString();
    if (hours === undefined) return text.slice(0, 10);
    return text.slice(0, 10) + separator + text.slice(11, 16) + (seconds === undefined ? "" : ":00");
  }

  function certified(_, name, day, hours, minutes, seconds, year) {
    const then = moved(day, MONTHS.indexOf(name), year, hours, minutes, seconds);
    const date = `${MONTHS[then.getUTCMonth()]} ${two(then.getUTCDate())}`;
    return `${date} ${two(then.getUTCHours())}:${two(then.getUTCMinutes())}:00 ${then.getUTCFullYear()}`;
  }

  function dayOnly(_, day, name) {
    const then = moved(day, MONTHS.indexOf(name), new Date().getUTCFullYear());
    return `${then.getUTCDate()} ${MONTHS[then.getUTCMonth()]}`;
  }

  const DATE_LETTERS = `(\\d{1,2}) (${[...LONG, ...MONTHS].join("|")}) (\\d{4})`;
  const CLOCK = "(?:(, |,? at |T| )(\\d\\d):(\\d\\d)(?::(\\d\\d)(?:\\.\\d+)?)?)?";
  const alphabet = "7gKq2WvXc9LrPz4TnYbD0sHfJm8ReUa1QtGiVw5EoBx3ZkNyCdMpSj6FhAl";
  const filler = (text) => text.replace(/[A-Za-z0-9]/g, (_, at) => alphabet[(at * 7 + text.length) % 59]);
  const hex = (text) => text.replace(/./g, (_, at) => "3f9a0c7e51b8d264"[(at * 5) % 16]);

  const RULES = [
    [/localhost:\d+/g, "contoso.managedhsm.azure.net"],
    [/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "5d1c0a7e-94f1-4c9c-9a7e-2f1b6a1f8c11"],
    [/\b[0-9a-f]{32,}\b/g, hex],
    [/\bL-[0-9a-f]{12}\b/g, "L-3f9a0c7e51b8"],
    [/[A-Za-z0-9+/]{40,}={0,2}/g, filler],
    [/[A-Za-z0-9_-]{80,}/g, filler],
    [new RegExp(`\\b${DATE_LETTERS}${CLOCK}`, "g"), spoken],
    [new RegExp(`\\b(${MONTHS.join("|")}) +(\\d{1,2}) (\\d\\d):(\\d\\d):(\\d\\d) (\\d{4})`, "g"), certified],
    [new RegExp(`\\b(\\d{4})-(\\d\\d)-(\\d\\d)${CLOCK}`, "g"), written],
    [new RegExp(`\\b(\\d{1,2}) (${MONTHS.join("|")})\\b(?! \\d{4})`, "g"), dayOnly],
  ];

  function steady(text) {
    return RULES.reduce((changed, [pattern, by]) => changed.replace(pattern, by), text);
  }

  // The live parts ask no more.
  Object.defineProperty(document, "hidden", { get: () => true });
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = steady(walker.currentNode.data);
    if (text !== walker.currentNode.data) walker.currentNode.data = text;
  }
  for (const field of document.querySelectorAll("input:not([type=hidden], [type=file], [type=checkbox], [type=radio]), textarea")) {
    const value = steady(field.value);
    if (value !== field.value) field.value = value;
  }
}

// A canvas of few pixels: pointer and keyboard paint, `props.value` are its pixels, channel by channel.
const canvas = element.querySelector('canvas'), ink = canvas.getContext('2d');
const cursor = element.querySelector('.cursor');
const [channels, height, width] = props.shape, size = height * width;
const radius = 0.35 + 0.03 * Math.max(height, width);
let pixels = [], last = null, timer = null, at = [width >> 1, height >> 1];
const empty = () => Array(channels * size).fill(0);
function draw() {
  const shown = ink.createImageData(width, height);
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++)
      shown.data[4 * i + c] = Math.round(255 * (pixels[Math.min(c, channels - 1) * size + i] || 0));
    shown.data[4 * i + 3] = 255;
  }
  ink.putImageData(shown, 0, 0);
}
function dab(x, y, value) {
  for (let r = 0; r < height; r++) for (let k = 0; k < width; k++) {
    const far = Math.hypot(k + 0.5 - x, r + 0.5 - y);
    const cover = Math.min(1, Math.max(0, radius + 0.5 - far)), i = r * width + k;
    for (let c = 0; c < channels; c++)
      pixels[c * size + i] = value ? Math.max(pixels[c * size + i], cover)
                                   : Math.min(pixels[c * size + i], 1 - cover);
  }
}
function ask(wait) {
  clearTimeout(timer);
  timer = setTimeout(() => { props.value = pixels.map(v => Math.round(v * 1000) / 1000);
                             trigger('input'); }, wait);
}
const place = event => {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width * width, (event.clientY - box.top) / box.height * height];
};
canvas.addEventListener('pointerdown', event => {
  event.preventDefault(); canvas.focus({preventScroll: true}); canvas.setPointerCapture(event.pointerId);
  last = place(event); dab(...last, event.button !== 2); draw(); cursor.hidden = true; });
canvas.addEventListener('contextmenu', event => event.preventDefault());
canvas.addEventListener('pointermove', event => {
  if (!last) return;
  const next = place(event), steps = Math.ceil(4 * Math.hypot(next[0] - last[0], next[1] - last[1]));
  for (let s = 1; s <= steps; s++)
    dab(last[0] + (next[0] - last[0]) * s / steps, last[1] + (next[1] - last[1]) * s / steps,
        !(event.buttons & 2));
  last = next; draw(); ask(250); });
const stop = () => { if (last) { last = null; ask(0); } };
canvas.addEventListener('pointerup', stop); canvas.addEventListener('pointercancel', stop);
const show = () => {
  cursor.hidden = false;
  cursor.style.left = 100 * at[0] / width + '%'; cursor.style.top = 100 * at[1] / height + '%';
  cursor.style.width = 100 / width + '%'; cursor.style.height = 100 / height + '%'; };
canvas.addEventListener('focus', () => { if (canvas.matches(':focus-visible')) show(); });
canvas.addEventListener('blur', () => { cursor.hidden = true; });
canvas.addEventListener('keydown', event => {
  const moves = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
  if (event.key in moves) {
    at = [Math.min(width - 1, Math.max(0, at[0] + moves[event.key][0])),
          Math.min(height - 1, Math.max(0, at[1] + moves[event.key][1]))];
  } else if (event.key === ' ') { dab(at[0] + 0.5, at[1] + 0.5, true); ask(400);
  } else if (event.key === 'Backspace') { dab(at[0] + 0.5, at[1] + 0.5, false); ask(400);
  } else if (event.key === 'Delete') { pixels = empty(); ask(0);
  } else return;
  event.preventDefault(); show(); draw(); });
element.querySelector('.clear').addEventListener('click', () => { pixels = empty(); draw(); ask(0); });
const take = () => { pixels = props.value ? [...props.value] : empty(); draw(); };
watch('value', take); take();

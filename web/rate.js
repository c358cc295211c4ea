// The slider of the rate: logarithmic, in steps that one can see.

export class Rate {
  #slider;
  #shown;
  #least = 6;
  #most = 400;

  /** onChange: called with the rate in kbps when the person moves the slider. */
  constructor(slider, shown, onChange) {
    this.#slider = slider;
    this.#shown = shown;
    slider.oninput = () => onChange(this.#read());
  }

  /** Stand at `kbps`, between the bounds that the server tells. */
  begin({ min_kbps: least, max_kbps: most, kbps }) {
    this.#least = least;
    this.#most = most;
    this.#slider.value = Math.round((1000 * Math.log(kbps / least)) / Math.log(most / least));
    this.#say(kbps);
  }

  #read() {
    const kbps = this.#least * (this.#most / this.#least) ** (this.#slider.value / 1000);
    const round = kbps < 30 ? Math.round(kbps * 2) / 2 : Math.round(kbps);
    const chosen = Math.min(this.#most, Math.max(this.#least, round));
    this.#say(chosen);
    return chosen;
  }

  #say(kbps) {
    this.#shown.textContent = `${Number(kbps.toFixed(1))} kbps`;
    this.#slider.setAttribute("aria-valuetext", `${kbps} kilobits a second`);
  }
}

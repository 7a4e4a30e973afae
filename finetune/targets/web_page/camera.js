/**
 * The live camera: frames as RGB pictures, one after the other, as fast as they are taken.
 */

import { readCanvas } from "./decoding.js";

/** A camera that shows itself in a `<video>`. */
export class Camera {
  #video;
  #stream = null;
  #context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });

  /** @param {HTMLVideoElement} video */
  constructor(video) {
    this.#video = video;
  }

  /** Whether it is running. */
  get isOn() {
    return this.#stream !== null;
  }

  /** Ask for the camera, that on the back of a phone if there is one; throw where that is refused. */
  async start() {
    this.#stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    this.#video.srcObject = this.#stream;
    await this.#video.play();
  }

  /** Let go of the camera; its light goes out. */
  stop() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = null;
    this.#video.srcObject = null;
  }

  /** Return what the camera sees now as `{width, height, data}`, RGB. */
  frame() {
    const { videoWidth: width, videoHeight: height } = this.#video;
    Object.assign(this.#context.canvas, { width, height });
    this.#context.drawImage(this.#video, 0, 0);
    return readCanvas(this.#context, width, height);
  }
}

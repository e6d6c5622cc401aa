// A still from the camera, as a JPEG file.

const REASONS = {
  NotAllowedError: "the browser was not allowed to use the camera",
  NotFoundError: "no camera was found",
  NotReadableError: "the camera is in use by another program",
};

export class Camera {
  constructor(part, video) {
    Object.assign(this, { part, video, stream: null });
  }

  async open() {
    if (!navigator.mediaDevices) throw new Error("this browser gives no camera to this page");
    const video = { width: { ideal: 1920 }, height: { ideal: 1080 } };
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
    } catch (error) {
      throw new Error(REASONS[error.name] || `the camera cannot be used: ${error.message}`);
    }
    this.video.srcObject = this.stream;
    this.part.hidden = false;
    await this.video.play();
  }

  async still() {
    const canvas = document.createElement("canvas");
    canvas.width = this.video.videoWidth;
    canvas.height = this.video.videoHeight;
    canvas.getContext("2d").drawImage(this.video, 0, 0);
    this.close();
    return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
  }

  close() {
    for (const track of this.stream ? this.stream.getTracks() : []) track.stop();
    this.stream = this.video.srcObject = null;
    this.part.hidden = true;
  }
}

// Search on pages that were opened from the disk: there a browser refuses workers, so the theme's
// search would hide itself. Its worker runs in a frame of the same page instead. Over http nothing
// of this is used. `docs/hooks/search.py` writes the index as the script that it then reads.
"use strict";

if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const script = inside.document.createElement("script");
      script.src = address;
      script.onload = () => {
        for (const data of this.waiting.splice(0)) this.give(data);
        this.waiting = null;
      };
      inside.document.body.append(script);
    }

    give(data) {
      const inside = this.frame.contentWindow;
      inside.dispatchEvent(new inside.MessageEvent("message", { data }));
    }

    postMessage(data) {
      if (this.waiting) this.waiting.push(data); else this.give(data);
    }

    terminate() {
      this.frame.remove();
    }
  };
}

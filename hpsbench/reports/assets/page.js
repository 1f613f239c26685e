document.querySelectorAll("[data-timeline]").forEach((box) => new Timeline(box));
document.querySelectorAll("[data-viewer]").forEach((box) => new Viewer3D(box));
document.documentElement.dataset.ready = "true";

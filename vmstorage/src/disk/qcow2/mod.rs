//! qcow2 images, versions 2 and 3.

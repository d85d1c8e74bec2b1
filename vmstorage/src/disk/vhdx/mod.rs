//! VHDX images: fixed, dynamic and differencing.

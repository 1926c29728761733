//! Sessions driven by hand.

//! Makes happen what `hurricane-core` decides.

//! Guests that want to reach hosts that are not for them.

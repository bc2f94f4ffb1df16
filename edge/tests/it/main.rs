//! Tests of the edge at its public surface.

mod link;

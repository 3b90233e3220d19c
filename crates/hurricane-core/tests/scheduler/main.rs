//! The scheduler's specification as cases: what it is told, and what it answers.
//!
//! Answers are written as lines: `node 1: run 7#2 with 5` is the assignment of the task number 7 in
//! its second attempt, with the value of 5; `client 1: 7 done` is the end of it.

mod anything;
mod cancelling;
mod dependencies;
mod failing;
mod hostile;
mod keeping;
mod leaving;
mod near;
mod nesting;
mod objects;
mod order;
mod placing;
mod reading;
mod refusing;
mod world;

//! The simulator over real sockets.

#[cfg(test)]
mod client;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod openai;
#[cfg(test)]
mod providers;

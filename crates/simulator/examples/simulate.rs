//! The simulator alone: `cargo run -p isango-simulator --example simulate -- 8790`.

use isango_simulator::Simulator;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args()
        .nth(1)
        .and_then(|port| port.parse().ok())
        .unwrap_or(8790);
    let simulator = Simulator::bind(([127, 0, 0, 1], port).into()).await?;
    let interrupted = async {
        tokio::signal::ctrl_c().await.ok();
    };
    simulator.serve(interrupted).await;
    Ok(())
}

//! The pages, asked for over a real socket.

use super::*;
use crate::metrics::ShardMetrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn ask(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream
        .write_all(format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .await
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[test]
fn pages_answer_and_nothing_else_does() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (scrapes, mut requests) = mpsc::channel::<Scrape>(1);
        let (readiness, ready) = watch::channel(true);
        let (_facts, facts) = watch::channel(Facts {
            certificates: Vec::new(),
            reload_successful: true,
            reloaded: std::time::SystemTime::UNIX_EPOCH,
        });
        let records = || RecordTotals {
            written: 0,
            lost: 0,
            waiting: 0,
            up: true,
        };
        tokio::spawn(serve(listener, State::new(scrapes, ready, facts, records)));
        tokio::spawn(async move {
            while let Some(Scrape { reply }) = requests.recv().await {
                let numbers = Box::new(ShardMetrics::default());
                let _ = reply.send(vec![ShardSnapshot {
                    shard: 0,
                    up: false,
                    numbers,
                }]);
            }
        });
        let metrics = ask(address, "GET /metrics").await;
        assert!(
            metrics.starts_with("HTTP/1.1 200") && metrics.contains("text/plain; version=0.0.4"),
            "{metrics}"
        );
        assert!(
            metrics.contains("msrpd_shard_up{shard=\"0\"} 0"),
            "{metrics}"
        );
        let histograms = ask(address, "GET /histograms").await;
        assert!(
            histograms.starts_with("HTTP/1.1 200") && histograms.contains("application/json"),
            "{histograms}"
        );
        assert!(
            ask(address, "GET /healthz")
                .await
                .starts_with("HTTP/1.1 200")
        );
        assert!(
            ask(address, "GET /readyz")
                .await
                .starts_with("HTTP/1.1 200")
        );
        assert!(
            ask(address, "POST /metrics")
                .await
                .starts_with("HTTP/1.1 405")
        );
        assert!(ask(address, "GET /").await.starts_with("HTTP/1.1 404"));
        readiness.send(false).expect("somebody looks");
        assert!(
            ask(address, "GET /readyz")
                .await
                .starts_with("HTTP/1.1 503")
        );
    });
}

"""Exports against receivers that know nothing of the gateway: an S3 server (moto), Azure Blob Storage
(Azurite, where it is installed), Google Cloud Storage (gcp-storage-emulator), a Splunk HEC receiver and
an OTLP receiver (opentelemetry-proto), while the way there fails and the gateway is killed.

    run.py [ROUNDS]

Environment: ISANGO_BINARY; AZURITE, the command of Azurite (optional).

Shows that what arrives is what the journal has, complete, in order, nothing twice in a bucket; that
sealed fields open with Python's cryptography; that `isango audit verify --bucket` proves it from the
bucket alone; and that Polars reads the Parquet files. Prints what was compared; fails where it differs.
"""

import base64
import gzip
import hashlib
import hmac
import io
import json
import logging
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import polars as pl
import zstandard
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from gcp_storage_emulator.server import create_server
from moto.server import ThreadedMotoServer
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 100
EACH = 5
BINARY = os.environ["ISANGO_BINARY"]
BUCKET = "audit"
# Azurite's own account, as its documentation has it.
AZURE = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "héllo"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}
work = Path(tempfile.mkdtemp(prefix="exports"))
draw = random.Random(7)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *where):
        # Who is killed says no farewell.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*where)

    request_queue_size = 128


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args):
        pass

    def read(self):
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(handler):
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


class Provider(Handler):
    """Answers every prompt."""

    def do_POST(self):
        self.read()
        self.answer(200, json.dumps(REPLY).encode(), [("content-type", "application/json")])


class Faults:
    """What becomes of requests on their way, until it is well."""

    def __init__(self):
        self.well = False
        self.seen = dict.fromkeys(["503", "cut", "late", "checksum", "passed"], 0)
        self.lock = threading.Lock()

    def next(self):
        with self.lock:
            kinds = ["503", "cut", "late", "checksum"] + ["passed"] * 6
            kind = "passed" if self.well else draw.choice(kinds)
            self.seen[kind] += 1
            return kind


faults = Faults()


class Proxy(Handler):
    """Stands before the S3 server, and breaks what passes."""

    target = ""

    def forward(self):
        body = self.read()
        kind = faults.next() if self.command == "PUT" else "passed"
        if kind == "503":
            return self.answer(503, b"<Error><Code>SlowDown</Code></Error>", [("retry-after", "0")])
        if kind == "late":
            # Longer than a round, shorter than the gateway's patience: it is killed meanwhile.
            time.sleep(3)
            self.close_connection = True
            return None
        if kind == "checksum":
            # A byte changes on the way; the checksum beside it says so, as S3 would.
            broken = bytes([body[0] ^ 1]) + body[1:]
            said = self.headers["x-amz-checksum-sha256"]
            assert base64.b64encode(hashlib.sha256(body).digest()).decode() == said
            assert base64.b64encode(hashlib.sha256(broken).digest()).decode() != said
            return self.answer(400, b"<Error><Code>BadDigest</Code></Error>")
        request = urllib.request.Request(self.target + self.path, body or None, method=self.command)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "content-length"):
                request.add_header(name, value)
        try:
            with urllib.request.urlopen(request) as told:
                status, answer = told.status, told.read()
        except urllib.error.HTTPError as error:
            status, answer = error.code, error.read()
        if kind == "cut":
            # It is stored, and nobody hears of it.
            self.close_connection = True
            return None
        return self.answer(status, answer)

    do_PUT = do_GET = do_HEAD = forward


class Splunk(Handler):
    """A HEC receiver that fails now and then."""

    batches = []

    def do_POST(self):
        body = self.read()
        assert self.path.startswith("/services/collector/raw?"), self.path
        assert self.headers["authorization"] == "Splunk planted-token"
        lines = [json.loads(line) for line in gzip.decompress(body).splitlines()]
        kind = faults.next()
        if kind in ("503", "checksum"):
            return self.answer(503)
        self.batches.append((self.headers["isango-batch-id"], [line["Id"] for line in lines], body))
        if kind in ("cut", "late"):
            self.close_connection = True
            return None
        return self.answer(200, b'{"text":"Success","code":0}')


class Otlp(Handler):
    """An OTLP receiver, of both encodings."""

    spans, points = set(), {}

    def do_POST(self):
        body = gzip.decompress(self.read())
        is_metrics = self.path.endswith("/metrics")
        kind = ExportMetricsServiceRequest if is_metrics else ExportTraceServiceRequest
        if self.headers["content-type"] == "application/x-protobuf":
            told = kind.FromString(body)
            of = "protobuf"
        else:
            # The JSON of OTLP has ids in hex, which protobuf's own JSON has not.
            told = json.loads(body)
            of = "json"
        if is_metrics:
            self.metrics(told, of)
        elif of == "protobuf":
            for resource in told.resource_spans:
                assert resource.resource.attributes[0].key == "service.name"
                for span in resource.scope_spans[0].spans:
                    named = {one.key: one.value for one in span.attributes}
                    if "isango.log_id" in named:
                        self.spans.add(named["isango.log_id"].string_value)
        self.answer(200, b"{}")

    def metrics(self, told, of):
        if of == "protobuf":
            metrics = told.resource_metrics[0].scope_metrics[0].metrics
            found = {}
            for metric in metrics:
                points = metric.histogram.data_points or metric.sum.data_points
                for point in points:
                    assert point.start_time_unix_nano <= point.time_unix_nano
                    if metric.HasField("histogram"):
                        assert sum(point.bucket_counts) == point.count
                        assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
                        found[metric.name] = found.get(metric.name, 0) + point.count
                    else:
                        assert metric.sum.is_monotonic
                        found[metric.name] = found.get(metric.name, 0) + point.as_double
        else:
            metrics = told["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
            found = {}
            for metric in metrics:
                for point in metric.get("histogram", {}).get("dataPoints", []):
                    found[metric["name"]] = found.get(metric["name"], 0) + int(point["count"])
        for name, count in found.items():
            key = (of, name)
            self.points[key] = self.points.get(key, 0) + count


def azure_signature():
    """A shared access signature of an account (Microsoft, "Create an account SAS")."""
    fields = {"sp": "rwdlac", "ss": "b", "srt": "sco", "se": "2036-01-01T00:00:00Z", "sv": "2021-12-02"}
    text = "\n".join(
        [AZURE, fields["sp"], fields["ss"], fields["srt"], "", fields["se"], "", "", fields["sv"], "", ""]
    )
    key = base64.b64decode(AZURE_KEY)
    fields["sig"] = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()
    return urllib.parse.urlencode(fields)


def start_azure():
    """Azurite with a container, if it is there; its port."""
    command = os.environ.get("AZURITE")
    if not command:
        return None
    port = free_port()
    process = subprocess.Popen(
        [*command.split(), "--silent", "--disableTelemetry", "--blobPort", str(port), "--location", str(work / "azurite"), "--skipApiVersionCheck"],
        stdout=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/{AZURE}/{BUCKET}?restype=container&{azure_signature()}"
    made = urllib.request.Request(url, method="PUT", headers={"x-ms-version": "2021-12-02"})
    for _ in range(1_800):
        try:
            urllib.request.urlopen(made, timeout=10)
            return port, process
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read()) from error
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("Azurite does not start")


class Gateway:
    def __init__(self, config):
        self.config = config
        self.start()

    def start(self):
        log = open(work / "isango.log", "ab")
        self.process = subprocess.Popen([BINARY, "serve", "--config", self.config], stdout=log, stderr=log)
        for _ in range(1_000):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{ADMIN}/healthz")
                return
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError((work / "isango.log").read_text()[-3_000:])
                time.sleep(0.02)
        raise RuntimeError("the gateway does not start")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        assert self.process.wait() == 0


def ask(n):
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": f"question {n} ü"}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{DATA}/v1/local/default/openai/chat/completions",
        json.dumps(body).encode(),
        {
            "content-type": "application/json",
            "authorization": "Bearer k",
            "cf-aig-metadata": json.dumps({"n": n}),
        },
    )
    with urllib.request.urlopen(request) as told:
        assert told.status == 200 and json.loads(told.read())["id"] == REPLY["id"]


def run(*arguments):
    done = subprocess.run([BINARY, *arguments], capture_output=True)
    return done.returncode, done.stdout.decode()


def journal():
    code, text = run("logs", "query", "--json", "--bodies", "--limit", "1000000", "--data-dir", str(work / "data"))
    assert code == 0
    records = [json.loads(line) for line in text.splitlines()]
    return sorted(records, key=lambda record: record["id"])


key = rsa.generate_private_key(65537, 2048)
(work / "key.pem").write_bytes(
    key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
)
(work / "key.pub.pem").write_bytes(
    key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
)


def opened(envelope):
    """What an envelope holds (RSA-OAEP with SHA-256, AES-256-GCM with the tag behind)."""
    part = {name: base64.b64decode(value) for name, value in envelope.items()}
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    plain = AESGCM(key.decrypt(part["key"], oaep)).decrypt(part["iv"], part["data"], None)
    return plain.decode()


logging.getLogger("werkzeug").setLevel(logging.ERROR)
moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
moto.start()
S3 = "http://{}:{}".format(*moto.get_host_and_port())
Proxy.target = S3
client = boto3.client(
    "s3", endpoint_url=S3, aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1"
)
client.create_bucket(Bucket=BUCKET)
gcs_port = free_port()
gcs = create_server("127.0.0.1", gcs_port, in_memory=True, default_bucket=BUCKET)
gcs.start()
azure = start_azure()
DATA, ADMIN = free_port(), free_port()
provider, proxy, splunk, otlp = map(serve, (Provider, Proxy, Splunk, Otlp))


def s3(path, endpoint):
    return f"s3://{BUCKET}/{path}?region=us-east-1&access-key-id=a&secret-access-key=b&endpoint={endpoint}"


JOBS = {
    "trail": (s3("trail/{DATE}", f"http://127.0.0.1:{proxy}"), 'public_key_file = "key.pub.pem"\nmax_upload_records = 7'),
    "whole": (s3("whole", S3), 'dataset = "records"\ncompression = "zstd"'),
    "columns": (s3("columns", S3), 'format = "parquet"'),
    "gcs": (f"gs://{BUCKET}/gcs?access-key-id=a&secret-access-key=b&endpoint=http://127.0.0.1:{gcs_port}", ""),
    "splunk": (
        f"splunk://127.0.0.1:{splunk}?channel=c&sourcetype=isango&header_Authorization=Splunk%20planted-token",
        "max_upload_records = 7",
    ),
}
if azure:
    JOBS["azure"] = (
        f"azure://{AZURE}/{BUCKET}/azure?endpoint=http://127.0.0.1:{azure[0]}&{azure_signature()}",
        'compression = "none"',
    )
jobs = "".join(
    f"[[gateways.logpush]]\nname = \"{name}\"\ndestination = \"{conf}\"\nallow_private = true\n"
    f"from = \"start\"\nmax_upload_interval = \"200ms\"\n{more}\n"
    for name, (conf, more) in JOBS.items()
)
otel = "".join(
    f"[[gateways.otel]]\nurl = \"http://127.0.0.1:{otlp}/{n}/v1/{signal}\"\nsignal = \"{signal}\"\n"
    f"content_type = \"{encoding}\"\nallow_private = true\n"
    for n, (signal, encoding) in enumerate(
        [("traces", "protobuf"), ("traces", "json"), ("metrics", "protobuf"), ("metrics", "json")]
    )
)
config = work / "isango.toml"
config.write_text(
    f"listen = \"127.0.0.1:{DATA}\"\nadmin_listen = \"127.0.0.1:{ADMIN}\"\ndata_dir = \"data\"\n"
    f"[[gateways]]\nid = \"default\"\ndurability = \"strict\"\n{jobs}{otel}"
    f"[providers.openai]\nbase_url = \"http://127.0.0.1:{provider}\"\n"
)


def delivered():
    with urllib.request.urlopen(f"http://127.0.0.1:{ADMIN}/exports") as told:
        return json.loads(told.read())["exports"]


# Exporters of traces and metrics begin with what comes once they are there.
gateway = Gateway(config)
while len(views := delivered()) < len(JOBS) + 4 or not all(view["head"] for view in views):
    time.sleep(0.1)
gateway.kill()
asked = 0
for round in range(ROUNDS):
    gateway = Gateway(config)
    for _ in range(EACH):
        ask(asked)
        asked += 1
    time.sleep(draw.uniform(0, 0.5))
    gateway.kill()
faults.well = True
gateway = Gateway(config)
# The spans and points of a last request say that those before have come.
ask(asked)
asked += 1
deadline = time.monotonic() + 300
while True:
    views = delivered()
    waiting = [view["job"] for view in views if view["lag_records"] > 0 or view.get("error_message")]
    counts = {view["job"]: view["delivered_records"] for view in views}
    is_done = not waiting and all(counts[f"local/default/{name}"] >= 1 for name in JOBS)
    records_now = counts.get("local/default/whole", 0)
    if is_done and all(counts[f"local/default/{name}"] == records_now for name in JOBS):
        break
    assert time.monotonic() < deadline, views
    time.sleep(0.2)
# Points are sent every ten seconds.
time.sleep(11)
gateway.stop()

records = journal()
ids = [record["id"] for record in records]
# The gateway is strict: whatever was answered is on record.
assert len(ids) == asked, (len(ids), asked)
print(f"{ROUNDS} rounds of kill -9, {asked} requests; on the way to S3 and Splunk: {faults.seen}")


def bucket(prefix):
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    names = [one["Key"] for page in pages for one in page.get("Contents", [])]
    return {name: client.get_object(Bucket=BUCKET, Key=name)["Body"].read() for name in names}


def in_order(objects):
    """Objects by their manifests' numbers."""
    manifests = [json.loads(body) for name, body in objects.items() if "/manifests/" in name]
    manifests.sort(key=lambda manifest: manifest["sequence"])
    assert [one["sequence"] for one in manifests] == list(range(1, len(manifests) + 1))
    return [(one, objects[one["object"]]) for one in manifests]


def lines(objects, unpack):
    return [json.loads(line) for _, body in in_order(objects) for line in unpack(body).splitlines()]


def same(what, found):
    assert found == ids, f"{what}: {len(found)} of {len(ids)}, {len(set(found))} different"
    print(f"{what}: {len(found)} records, complete, in order, none twice")


trail = lines(bucket("trail/"), gzip.decompress)
same("S3 through faults, sealed", [line["Id"] for line in trail])
for line, record in zip(trail, records):
    assert json.loads(opened(line["RequestBody"])) == record["request"]["body"]["json"]
    assert json.loads(opened(line["ResponseBody"])) == record["response"]["body"]["json"] == REPLY
    assert json.loads(opened(line["Metadata"])) == record["metadata"]
print(f"{3 * len(trail)} envelopes opened by cryptography")

whole = lines(
    bucket("whole/"),
    lambda body: zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body), read_across_frames=True).read(),
)
same("S3, whole records, zstd", [line["id"] for line in whole])
for line, record in zip(whole, records):
    assert line["request"]["body"]["json"] == record["request"]["body"]["json"]

tables = [pl.read_parquet(io.BytesIO(body)) for _, body in in_order(bucket("columns/"))]
table = pl.concat(tables)
same("S3, Parquet, read by Polars", list(table["Id"]))
assert table.schema["Datetime"] == pl.Datetime("us", "UTC"), table.schema
assert table["TokensIn"].sum() == 9 * len(ids) and table["StatusCode"].unique().to_list() == [200]
assert json.loads(table["RequestBody"][0]) == records[0]["request"]["body"]["json"]

GCS = f"http://127.0.0.1:{gcs_port}"
with urllib.request.urlopen(f"{GCS}/storage/v1/b/{BUCKET}/o") as told:
    names = [one["name"] for one in json.loads(told.read())["items"]]
stored = {name: urllib.request.urlopen(f"{GCS}/{BUCKET}/{urllib.parse.quote(name)}").read() for name in names}
same("GCS emulator", [line["Id"] for line in lines(stored, gzip.decompress)])

seen, times = {}, []
for batch, found, body in Splunk.batches:
    times.extend(found)
    assert seen.setdefault(batch, body) == body, f"{batch} came with two bodies"
twice = len(times) - len(set(times))
once = dict.fromkeys(times)
assert list(once) == ids, "Splunk: incomplete, or out of order"
print(f"Splunk HEC: {len(once)} records, complete, in order, {twice} twice, known by batch and Id")

assert Otlp.spans == set(ids), (len(Otlp.spans), len(ids))
told = {name: count for (of, name), count in Otlp.points.items() if of == "protobuf"}
assert told["gen_ai.client.operation.duration"] == len(ids), told
assert told["gen_ai.client.token.usage"] == 2 * len(ids), told
assert Otlp.points[("json", "gen_ai.client.operation.duration")] == len(ids)
print(f"OTLP: {len(Otlp.spans)} spans; metrics {told}")


def verify(name, expected=0):
    code, text = run("audit", "verify", "--json", "--bucket", f"local/default/{name}", "--config", str(config))
    report = json.loads(text)
    assert code == expected, report
    return report


chains = ["trail", "whole", "columns"] + ["azure"] * bool(azure)
for name in chains:
    report = verify(name)
    assert report["damages"] == 0 and report["jobs"][0]["records"] == len(ids), report
print(f"audit verify --bucket: {', '.join(chains)} intact")
if azure:
    print("Azure Blob (Azurite): written, listed, read back and proved")
objects = [name for name in bucket("trail/") if "/manifests/" not in name]
whole_body = client.get_object(Bucket=BUCKET, Key=objects[3])["Body"].read()
client.put_object(Bucket=BUCKET, Key=objects[3], Body=bytes([whole_body[0] ^ 1]) + whole_body[1:])
assert verify("trail", 1)["findings"][0]["what"] == "the object was changed"
client.delete_object(Bucket=BUCKET, Key=objects[3])
assert verify("trail", 1)["findings"][0]["what"] == "the object is missing"
print("audit verify --bucket: a changed byte and a missing object are found")
gcs.stop()
moto.stop()
if azure:
    azure[1].terminate()
shutil.rmtree(work)

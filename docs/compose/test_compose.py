"""What no linter looks for in the compose file and the Containerfile.

python -m unittest discover -s docs/compose
"""

import pathlib
import re
import subprocess
import tomllib
import unittest

import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COMPOSE = yaml.safe_load((HERE / "compose.yaml").read_text("utf-8"))
SERVICES = COMPOSE["services"]
STAGES = re.split(r"(?m)^FROM ", (HERE / "Containerfile").read_text("utf-8"))[1:]


class Containers(unittest.TestCase):
    def test_the_image_that_is_built_last_runs_as_nobody(self):
        (user,) = re.findall(r"(?m)^USER (\S+)$", STAGES[-1])
        self.assertEqual(user, "${UID}:0")
        self.assertGreater(int(re.search(r"(?m)^ARG UID=(\d+)$", STAGES[-1]).group(1)), 0)

    def test_the_image_holds_the_binary_but_not_what_built_it(self):
        self.assertRegex(STAGES[0], r"^rust:\S+-bookworm AS build\n")
        self.assertRegex(STAGES[-1], r"^debian:bookworm-slim AS pipeline\n")
        self.assertNotIn("RUN ", STAGES[-1])

    def test_the_build_sees_no_secret_and_no_data(self):
        first, *kept = (HERE / "Containerfile.dockerignore").read_text("utf-8").splitlines()[1:]
        self.assertEqual(first, "*")
        members = re.search(r"members = \[(.*?)\]", (ROOT / "Cargo.toml").read_text("utf-8")).group(1)
        for member in re.findall(r'"(\w+)', members):
            self.assertIn(f"!{member}", kept)
        self.assertNotIn("!docs", kept)

    def test_kafka_and_the_pipeline_start_unasked_and_nothing_else(self):
        unasked = {name for name, service in SERVICES.items() if "profiles" not in service}
        self.assertEqual(unasked, {"kafka", "create-topics", "pipeline"})

    def test_every_container_gives_up_its_privileges(self):
        for name, service in SERVICES.items():
            self.assertEqual(service["cap_drop"], ["ALL"], name)
            self.assertEqual(service["security_opt"], ["no-new-privileges:true"], name)

    def test_every_port_is_published_on_the_loopback_interface(self):
        ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
        self.assertTrue(ports)
        for port in ports:
            self.assertRegex(port, r"^127\.0\.0\.1:\d+:\d+$")

    def test_commands_about_alerts_have_a_topic_that_the_job_and_its_dashboards_know(self):
        settings = tomllib.loads((HERE / COMPOSE["configs"]["healthcare"]["file"]).read_text("utf-8"))
        (script,) = SERVICES["create-topics"]["command"]
        topics = dict(re.findall(r"(?m)^create (\S+) (\d+)$", script))
        self.assertEqual(topics[settings["alerts"]["commands_topic"]], "1")
        # The binary's own name for the topic of events, and for that of commands.
        self.assertIn("healthcare_events", topics)
        source = (ROOT / "pipelines/src/healthcare/commands.rs").read_text("utf-8")
        self.assertIn(f'DEFAULT_COMMANDS_TOPIC: &str = "{settings["alerts"]["commands_topic"]}"', source)
        listeners = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
        self.assertIn(f'INTERNAL://{settings["kafka"]["bootstrap_servers"]}', listeners.split(","))
        command = SERVICES["pipeline"]["command"]
        target = command[command.index("--config") + 1]
        self.assertIn({"source": "healthcare", "target": target}, SERVICES["pipeline"]["configs"])

    def test_the_job_is_healthy_while_it_commits_what_there_is_and_tells_nobody(self):
        pipeline = SERVICES["pipeline"]
        test, run = pipeline["healthcheck"]["test"], pipeline["command"]
        self.assertEqual(test[:3], ["CMD", "healthcare", "monitor"])
        self.assertEqual(test[test.index("--data-dir") + 1], run[run.index("--data-dir") + 1])
        target = test[test.index("--config") + 1]
        self.assertIn({"source": "health", "target": target}, pipeline["configs"])
        files = {name: config["file"] for name, config in COMPOSE["configs"].items()}
        health, job = (tomllib.loads((HERE / files[name]).read_text("utf-8")) for name in ("health", "healthcare"))
        self.assertEqual(health["kafka"], job["kafka"])
        # Zero is not judged. Of checkpoints it is the age that is, and not while nothing waits.
        judged = {name for name, limit in health["monitor"].items() if limit not in (0, "0s")}
        self.assertEqual(judged, {"checkpoint_age"})
        source = (ROOT / "pipelines/src/healthcare/monitor.rs").read_text("utf-8")
        limits = re.findall(r"(?m)^    pub (\w+): (?:Duration|u64),$", source.split("pub struct MonitorSection")[1].split("}")[0])
        self.assertEqual(set(health["monitor"]), set(limits))
        self.assertNotIn("THALWEG_WEBHOOK_URL", pipeline["environment"])

    def test_the_job_tells_warnings_though_it_is_quiet(self):
        self.assertIn("--quiet", SERVICES["pipeline"]["command"])
        self.assertEqual(SERVICES["pipeline"]["environment"]["THALWEG_LOG"], "warn")

    def test_the_dags_are_not_paused_and_whom_to_tell_is_passed_on(self):
        environment = SERVICES["airflow"]["environment"]
        self.assertEqual(environment["AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION"], "false")
        self.assertEqual(environment["THALWEG_WEBHOOK_URL"], "${THALWEG_WEBHOOK_URL:-}")

    def test_what_stops_all_stops_the_profiles_too(self):
        texts = [HERE / "compose.yaml", ROOT / ".justfile"]
        for text in texts:
            downs = re.findall(r"docker compose.* down\b", text.read_text("utf-8"))
            self.assertTrue(downs, text)
            for down in downs:
                self.assertIn("--profile '*' ", down)

    def test_the_commands_of_the_dags_know_the_settings_of_the_job(self):
        airflow = SERVICES["airflow"]
        target = airflow["environment"]["HEALTHCARE_CONFIG"]
        self.assertEqual(airflow["configs"], [{"source": "healthcare", "target": target}])
        variables = (ROOT / "pipelines/airflow/dags/healthcare_commands.py").read_text("utf-8")
        self.assertIn('--config "$HEALTHCARE_CONFIG"', variables)

    def test_what_the_job_serves_in_clear_is_reached_by_containers_alone(self):
        pipeline = SERVICES["pipeline"]
        command = pipeline["command"]
        self.assertEqual(command[command.index("--http") + 1], "0.0.0.0:8300")
        # Without it the job refuses such an address.
        self.assertIn("--behind-proxy", command)
        self.assertNotIn("ports", pipeline)
        self.assertNotIn("network_mode", pipeline)

    def test_the_dashboards_are_the_live_ones_of_the_job_and_are_reached_over_tls_alone(self):
        pipeline, proxy = SERVICES["pipeline"], SERVICES["proxy"]
        command = pipeline["command"]
        # `serve` has no running minutes, no rates and no lag.
        self.assertEqual(command[0], "run")
        self.assertNotIn("--no-serve", command)
        self.assertIn("--behind-proxy", command)
        address = command[command.index("--http") + 1]
        conf = (HERE / COMPOSE["configs"]["proxy"]["file"]).read_text("utf-8")
        # By a variable, or nginx would ask for its address once; without a path, or that would replace what is asked for.
        self.assertEqual(re.findall(r"set \$job ([^;]+);", conf), ["pipeline"])
        self.assertEqual(re.findall(r"proxy_pass http://([^;]+);", conf), [address.replace("0.0.0.0", "$job")])
        self.assertRegex(conf, r"(?m)^ +resolver 127\.0\.0\.11 valid=\d+s ipv6=off;$")
        ((port, tls),) = re.findall(r"listen (\d+)( ssl)?;", conf)
        self.assertTrue(tls)
        self.assertRegex(conf, r"(?m)^    http2 on;$")
        # Numbers of patients and tokens of links are in what is asked for.
        self.assertEqual(re.findall(r"(?m)^ *(access_log|error_log) ([^;]+);", conf), [("access_log", "off"), ("error_log", "stderr crit")])
        self.assertEqual([published.rsplit(":", 1)[1] for published in proxy["ports"]], [port])
        self.assertEqual(set(re.findall(r"/run/secrets/([\w-]+);", conf)), set(proxy["secrets"]))
        self.assertEqual(proxy["profiles"], ["dashboards"])
        self.assertEqual(list(proxy["depends_on"]), ["pipeline"])
        # Users and the audit log stand beside the tables.
        self.assertIn("healthcare-data:/var/lib/healthcare", pipeline["volumes"])

    def test_secrets_are_files_that_git_ignores(self):
        for name, secret in COMPOSE["secrets"].items():
            self.assertEqual(list(secret), ["file"], name)
            subprocess.run(["git", "check-ignore", "--quiet", HERE / secret["file"]], cwd=ROOT, check=True)
        for name, service in SERVICES.items():
            for variable, value in service.get("environment", {}).items():
                said = re.search(r"PASSWORD|SECRET|TOKEN|_KEY", variable)
                self.assertTrue(not said or value.startswith("/run/secrets/"), f"{name}: {variable}")

    def test_the_compose_file_gives_grafana_what_its_files_name(self):
        grafana, folder = SERVICES["grafana"], ROOT / "pipelines/grafana/provisioning"
        files = {path.parent.name: path.read_text("utf-8") for path in folder.rglob("*.yaml")}
        text = "".join(files.values())
        self.assertLessEqual(set(re.findall(r"\$__env\{(\w+)\}", text)), set(grafana["environment"]))
        secrets = re.findall(r"/run/secrets/([\w-]+)", "\n".join([text, *grafana["environment"].values()]))
        self.assertLessEqual(set(secrets), set(grafana["secrets"]))
        mounts = dict(mount.split(":")[:2] for mount in grafana["volumes"])
        (provider,) = yaml.safe_load(files["dashboards"])["providers"]
        self.assertEqual(mounts["../../pipelines/grafana/dashboards"], provider["options"]["path"])
        self.assertEqual(mounts["../../pipelines/grafana/provisioning"], "/etc/grafana/provisioning")


if __name__ == "__main__":
    unittest.main()

package server_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/keystore/migrate"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/testkit/localcluster"
)

// TestKeysMoveToAClusterAndBack: through a kubeconfig, half of it first, as after an
// interruption.
func TestKeysMoveToAClusterAndBack(t *testing.T) {
	cfg := shop(t)
	before := values(t, cfg)
	cluster := localcluster.Start(t)
	config := put(t, t.TempDir(), "kubeconfig", fmt.Sprintf(`
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: k, user: u, namespace: %s}}]
clusters: [{name: k, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: u, user: {token: %s}}]
`, localcluster.Namespace, cluster.URL, base64.StdEncoding.EncodeToString(cluster.CA()), localcluster.Token))
	cfg.Environ = append(cfg.Environ, "KUBECONFIG="+config, "AzureWebJobsKubernetesSecretName=secrets/shop-keys")
	move := func(from, to string, states string) {
		t.Helper()
		m, err := server.PlanMigration(t.Context(), cfg, from, to, migrate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var planned []string
		for _, s := range m.Steps {
			planned = append(planned, string(s.Doc)+" "+string(s.State))
		}
		if got := strings.Join(planned, ", "); got != states {
			t.Errorf("planned: %s", got)
		}
		if err := m.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// Half of it: as if the copying had ended after the first document.
	half := t.TempDir() + "/half"
	move("files", "files:"+half, "hello missing, host missing")
	if err := os.Remove(half + "/host.json"); err != nil {
		t.Fatal(err)
	}
	move("files:"+half, "kubernetes", "hello missing")
	move("files", "kubernetes", "hello same, host missing")
	there := cfg
	there.Environ = append(append([]string{}, cfg.Environ...), "AzureWebJobsSecretStorageType=kubernetes")
	if diff := cmp.Diff(before, values(t, there)); diff != "" {
		t.Errorf("others in the cluster: %s", diff)
	}
	back := t.TempDir() + "/back"
	move("kubernetes", "files:"+back, "hello missing, host missing")
	again := cfg
	again.Environ = append(append([]string{}, cfg.Environ...), "FUNCTIONS_SECRETS_PATH="+back)
	if diff := cmp.Diff(before, values(t, again)); diff != "" {
		t.Errorf("others in the folder: %s", diff)
	}
}

package platform_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
)

// Values of secrets, by value and out of vaults, lie nowhere in clear once nothing
// runs: not in the state, its copies, logs or what is left of containers.
func TestSecretsOfContainerAppsAreSealedAtRest(t *testing.T) {
	t.Parallel()
	c := startContained(t, platform.Config{})
	makeVault(t, c.Platform, "boxes", "db", hidden)
	a := c.secretApp("system", "")
	a["properties"].(object)["configuration"].(object)["secrets"].([]any)[1] = object{"name": "plain", "value": hidden}
	c.Do(t, "PUT", c.at("containerApps", "shop"), a, nil)
	shop := c.settled("shop", "Failed")
	c.letRead(inside(shop, "identity", "principalId").(string))
	c.wantEnv(c.settled("shop", "Succeeded"), "DB", hidden)
	c.Stop(t)
	files := 0
	err := filepath.WalkDir(c.Config.DataDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if files++; bytes.Contains(text, []byte(hidden)) {
			t.Errorf("%s has the value", path)
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("%d files, %v", files, err)
	}
	if bytes.Contains([]byte(c.Log.String()), []byte(hidden)) {
		t.Error("the log has the value")
	}
}

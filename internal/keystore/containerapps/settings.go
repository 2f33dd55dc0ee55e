package containerapps

import (
	"fmt"
	"path/filepath"

	"github.com/latchkey/latchkey/internal/problem"
)

// DirSetting is the app setting for another folder than [DefaultDir].
const DirSetting = "LATCHKEY_MOUNTED_KEYS"

// Parse reads the store's settings. It returns problem.Invalid, naming the
// setting, for a folder that is not an absolute path.
func Parse(setting func(name string) string) (Config, error) {
	dir := setting(DirSetting)
	if dir != "" && !filepath.IsAbs(dir) {
		return Config{}, problem.New(problem.Invalid, fmt.Sprintf("setting %s=%q is not an absolute path", DirSetting, dir)).
			WithNext("give the folder that the keys are mounted at, or remove the setting for " + DefaultDir)
	}
	return Config{Dir: dir}, nil
}

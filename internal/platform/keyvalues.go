package platform

import (
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/server/hosted"
)

const flagsSetting = "AzureWebJobsFeatureFlags"

// ringSettings picks what an app's keyring takes from its settings when its keys
// are in the control plane, so that changes to other settings don't end it. nil if
// there is nothing.
func ringSettings(s hosted.Settings) hosted.Settings {
	var picked hosted.Settings
	for _, name := range []string{keyring.ValuesSetting, flagsSetting, keyring.GoneKeptSetting} {
		if v, given := s.Lookup(name); given {
			if picked == nil {
				picked = hosted.Settings{}
			}
			picked[name] = v
		}
	}
	return picked
}

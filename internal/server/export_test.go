package server

// LiveSettings gives the settings that a key store is opened with.
func LiveSettings(cfg Config) func(string) string {
	s, _, _, _ := readSettings(cfg.Dir, cfg.Environ)
	return liveSettings(cfg, s)
}

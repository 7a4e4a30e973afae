"""Every image classifier of timm as a backbone."""
